"""The DPT decoder (Ranftl et al., Vision Transformers for Dense Prediction, arXiv 2103.13413, section 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode='bilinear', align_corners=True)


class Reassemble(nn.Module):
    """Makes a pyramid of an encoder's four maps of one size: x4, x2, x1 and x1/2 of the patch grid."""

    def __init__(self, width: int, channels: tuple[int, int, int, int]) -> None:
        """Build for maps of `width` channels; the pyramid's levels get `channels`, finest first."""
        super().__init__()
        first, second, _, fourth = channels
        self.project = nn.ModuleList(nn.Conv2d(width, level, kernel_size=1) for level in channels)
        self.resample = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, kernel_size=4, stride=4),
                nn.ConvTranspose2d(second, second, kernel_size=2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, kernel_size=3, stride=2, padding=1),
            ]
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Reassemble four maps (B, width, h, w) into levels (B, channels[i], h_i, w_i), finest first."""
        steps = zip(maps, self.project, self.resample, strict=True)
        return [resample(project(x)) for x, project, resample in steps]


class ResidualUnit(nn.Module):
    """Two pre-activated 3x3 convolutions around a skip."""

    def __init__(self, features: int) -> None:
        """Build for maps of `features` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(features, features, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, h, w) -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """Merges the coarser path with one level and enlarges the result. The coarsest level has nothing to merge."""

    def __init__(self, features: int, coarsest: bool = False) -> None:
        """Build for maps of `features` channels."""
        super().__init__()
        self.merge = None if coarsest else ResidualUnit(features)
        self.refine = ResidualUnit(features)
        self.out = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, level: Tensor, coarser: Tensor | None, size: tuple[int, int] | None) -> Tensor:
        """Fuse (B, features, h, w) with the coarser path of the same shape; (B, features, *size), None being (h, w)."""
        x = level if self.merge is None else coarser + self.merge(level)
        # The 1x1 convolution commutes with the interpolation and costs a quarter before it.
        x = self.out(self.refine(x))
        return x if size is None else _resize(x, size)


class DPTHead(nn.Module):
    """Fuses a four-level pyramid, coarse to fine, into one depth map. Knows nothing of the encoder."""

    def __init__(
        self, channels: tuple[int, int, int, int], features: int, max_depth: float | None, full_size: bool = True
    ) -> None:
        """Build with random weights.

        Args:
            channels: channels of the pyramid's levels, finest first.
            features: channels of the fusion path.
            max_depth: metres spanned by the output's sigmoid, or None for a relative map (ReLU).
            full_size: whether the last convolutions work at the output's size, as in the papers, and the one before at
                twice the finest level's; or each at half of that, a quarter of the work, and the result is enlarged.
        """
        super().__init__()
        self.max_depth = max_depth
        self.full_size = full_size
        self.lateral = nn.ModuleList(
            nn.Conv2d(level, features, kernel_size=3, padding=1, bias=False) for level in channels
        )
        self.fusion = nn.ModuleList(FusionBlock(features, coarsest=index == 3) for index in range(4))
        self.smooth = nn.Conv2d(features, features // 2, kernel_size=3, padding=1)
        self.hidden = nn.Conv2d(features // 2, 32, kernel_size=3, padding=1)
        self.output = nn.Conv2d(32, 1, kernel_size=1)
        if max_depth is None:
            # Start above zero: where the last ReLU is closed everywhere there is no gradient to open it.
            nn.init.ones_(self.output.bias)

    def forward(self, pyramid: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode.

        Args:
            pyramid: four maps (B, channels[i], h_i, w_i), finest first, each about half the one before.
            size: (H, W) of the output.

        Returns:
            (B, H, W), at least 0: relative disparity without a unit, or metres in 0..max_depth.
        """
        levels = [lateral(level) for lateral, level in zip(self.lateral, pyramid, strict=True)]
        rows, columns = levels[0].shape[-2:]
        twice = (2 * rows, 2 * columns)
        sizes = [twice if self.full_size else None, *(level.shape[-2:] for level in levels[:3])]
        path = None
        for index in (3, 2, 1, 0):
            path = self.fusion[index](levels[index], path, sizes[index])
        x = _resize(self.smooth(path), size if self.full_size else twice)
        x = F.relu(self.hidden(x))
        # Under autocast a bfloat16 result would have steps of 0.4 %, seen as terraces in a point cloud.
        with torch.autocast(x.device.type, enabled=False):
            x = self.output(x.to(self.output.weight.dtype))
            x = F.relu(x) if self.max_depth is None else torch.sigmoid(x) * self.max_depth
            return (x if self.full_size else _resize(x, size)).squeeze(1)
