"""The DINOv2 Vision Transformer: timm's blocks under the official position embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 14
"""Side of a patch in pixels; image sides are multiples of it."""

_TRAINED_SIZE = 518
_TRAINED_GRID = _TRAINED_SIZE // PATCH
# DINOv2 enlarges the grid by this much before dividing, against rounding. It shifts the sampling points a
# little, so weights trained with it need it.
_GRID_OFFSET = 0.1


class DinoV2Encoder(nn.Module):
    """Turns an image into the feature maps after four chosen blocks (V2 paper 5.2; DINOv2, arXiv 2304.07193).

    timm provides the layers; the forward pass is ours, because timm resamples the position embedding with
    antialiasing and by target size, which moves the output by several per cent on all but 518x518 images.
    """

    def __init__(self, timm_name: str, taps: tuple[int, ...]) -> None:
        """Build with random weights.

        Args:
            timm_name: a `vit_*_patch14_dinov2` of timm.
            taps: the blocks (counted from 0) whose output is returned.
        """
        # To import it takes seconds, which networks with another encoder need not wait for.
        import timm  # noqa: PLC0415

        super().__init__()
        self.taps = taps
        # LayerScale starts at 1 as in the official code: timm's 1e-5 would make every block a no-op until trained.
        self.vit = timm.create_model(
            timm_name, pretrained=False, img_size=_TRAINED_SIZE, num_classes=0, init_values=1.0
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised; H and W multiples of 14.

        Returns:
            One map (B, width, H/14, W/14) for each tap, after the shared final norm, without the class token.
        """
        patches = self.vit.patch_embed.proj(image)
        # Plain integers: a trace holds for one size, and then the position embedding is a constant in it.
        rows, columns = (int(side) for side in patches.shape[-2:])
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat((self.vit.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        tokens = tokens + self.position_embedding(rows, columns)
        maps = []
        for index, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if index in self.taps:
                normed = self.vit.norm(tokens)[:, 1:]
                maps.append(normed.transpose(1, 2).unflatten(2, (rows, columns)))
        return maps

    def position_embedding(self, rows: int, columns: int) -> Tensor:
        """Resample the learned 37x37 grid as DINOv2 does.

        Bicubic, no antialiasing, in float32. The sampling step comes from the scale (rows + 0.1) / 37, not from
        the sizes; `F.interpolate(size=...)` gives other numbers.

        Args:
            rows: H / 14.
            columns: W / 14.

        Returns:
            (1, 1 + rows * columns, width), the class token's embedding first, in the parameter's dtype.
        """
        embedding = self.vit.pos_embed
        if (rows, columns) == (_TRAINED_GRID, _TRAINED_GRID):
            return embedding
        # Products of matrices, in float32 under autocast too: F.interpolate on CUDA goes through a pixel's channels one
        # after another, which took ViT-S on an H100 half of its time.
        with torch.autocast(embedding.device.type, enabled=False):
            down, across = (_resampling(side, embedding.device) for side in (rows, columns))
            grid = embedding[0, 1:].float().unflatten(0, (_TRAINED_GRID, _TRAINED_GRID))
            grid = torch.einsum('rh,hwc,vw->rvc', down, grid, across)
        # The dtype of the parameter and not of the tokens: under autocast the sum then stays in float32.
        return torch.cat((embedding[:, :1], grid.flatten(0, 1)[None].to(embedding.dtype)), dim=1)


def _resampling(side: int, device: torch.device) -> Tensor:
    """What a resampled line of the trained grid is of it: float32 (side, 37), bicubic as in F.interpolate."""
    lines = torch.eye(_TRAINED_GRID, device=device)[None, None]
    scale = ((side + _GRID_OFFSET) / _TRAINED_GRID, 1.0)
    return F.interpolate(lines, scale_factor=scale, mode='bicubic')[0, 0]
