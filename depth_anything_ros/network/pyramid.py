"""Convolutional encoders whose own levels are the pyramid: small networks for machines without a GPU."""

import timm
import torch
from torch import Tensor, nn

from depth_anything_ros.network.architectures import IMAGE_MEAN, IMAGE_STD

MULTIPLE = 32
"""Stride of the coarsest level in pixels; image sides are multiples of it."""


class PyramidEncoder(nn.Module):
    """EfficientNet-Lite (Liu and Tan 2020, the variants of EfficientNet without squeeze-and-excitation) by timm.

    Batch normalisation keeps the statistics it was loaded with, in training too: batches of depth training are small,
    and perturbed images must not move the statistics that clean ones are seen with.
    """

    def __init__(self, timm_name: str, taps: tuple[int, ...]) -> None:
        """Build with random weights.

        Args:
            timm_name: a `tf_efficientnet_lite*` of timm, or another with `features_only`.
            taps: timm's indices of the levels with strides 4, 8, 16 and 32.
        """
        super().__init__()
        self.levels = timm.create_model(timm_name, pretrained=False, features_only=True, out_indices=taps)
        # Images come normalised as for DINOv2; these encoders were trained with another mean and deviation.
        config = self.levels.default_cfg
        scale = torch.tensor(IMAGE_STD) / torch.tensor(config['std'])
        shift = (torch.tensor(IMAGE_MEAN) - torch.tensor(config['mean'])) / torch.tensor(config['std'])
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
