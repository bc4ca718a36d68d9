"""Convolutional encoders whose own levels are the pyramid: small networks for machines without a GPU."""

import torch
from torch import Tensor, nn

from depth_anything_ros.network.architectures import IMAGE_MEAN, IMAGE_STD
from depth_anything_ros.network.efficientnet import DEVIATION, MEAN, EfficientNetLite

MULTIPLE = 32
"""Stride of the coarsest level in pixels; image sides are multiples of it."""


class PyramidEncoder(nn.Module):
    """EfficientNet-Lite for images that are normalised as the other networks'.

    Batch normalisation keeps the statistics it was loaded with, in training too: batches of depth training are small,
    and perturbed images must not move the statistics that clean ones are seen with.
    """

    def __init__(self, timm_name: str, taps: tuple[int, ...], omitted: tuple[str, ...] = ()) -> None:
        """Build with random weights.

        Args:
            timm_name: `tf_efficientnet_lite0`, `1` or `2`.
            taps: indices of the levels with strides 4, 8, 16 and 32, as timm counts them.
            omitted: blocks to leave out, as EfficientNetLite takes them.
        """
        super().__init__()
        self.levels = EfficientNetLite(timm_name, taps, omitted)
        scale = torch.tensor(IMAGE_STD) / DEVIATION
        shift = (torch.tensor(IMAGE_MEAN) - MEAN) / DEVIATION
        self.register_buffer('scale', scale.view(3, 1, 1), persistent=False)
        self.register_buffer('shift', shift.view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> 'PyramidEncoder':
        """Switch to training or evaluation; the batch normalisation stays in evaluation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode.

        Args:
            image: (B, 3, H, W), normalised by ImageNet's mean and deviation; H and W multiples of 32.

        Returns:
            Four maps (B, channels[i], H / s, W / s) with s = 4, 8, 16, 32, finest first.
        """
        return self.levels(image * self.scale + self.shift)
