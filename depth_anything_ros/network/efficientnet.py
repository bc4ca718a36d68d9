"""EfficientNet-Lite (Liu and Tan, 2020): EfficientNet without squeeze-and-excitation and with ReLU6, as CPUs like it.

Names and weights are those of timm's `tf_efficientnet_lite*`. But timm imports torchvision, and that torch's compiler,
which takes a process longer than torch itself: the built-in model is to answer soon after its start.
"""

from math import ceil, sqrt

import torch.nn.functional as F
from torch import Tensor, nn

MEAN = DEVIATION = 0.5
"""What the input is normalised with, of all channels, RGB in 0..1."""

# Kernel, stride, expansion, channels and blocks of each stage (Tan and Le, arXiv 1905.11946, table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Stages whose output is the last of its size: strides 2, 4, 8, 16 and 32.
_LEVELS = (0, 1, 2, 4, 6)
_STEM_CHANNELS = 32
# What channels and blocks are multiplied with (tensorflow/tpu, models/official/efficientnet/lite).
_FACTORS = {
    'tf_efficientnet_lite0': (1.0, 1.0),
    'tf_efficientnet_lite1': (1.0, 1.1),
    'tf_efficientnet_lite2': (1.1, 1.2),
}
_CHANNEL_MULTIPLE = 8
_EPSILON = 1e-3


class EfficientNetLite(nn.Module):
    """The convolutional part, for images normalised by MEAN and DEVIATION."""

    def __init__(self, timm_name: str, levels: tuple[int, ...], omitted: tuple[str, ...] = ()) -> None:
        """Build with random weights.

        Args:
            timm_name: `tf_efficientnet_lite0`, `1` or `2`.
            levels: which maps are returned, ascending; level i has stride 2 ** (i + 1).
            omitted: blocks to leave out, each as timm names it, `stage.number`. Only those with a skip can be,
                whose input and output have one shape. The others keep their names.

        Raises:
            ValueError: there is no such block, or it has no skip.
        """
        super().__init__()
        width, depth = _FACTORS[timm_name]
        self._outputs = {_LEVELS[level] for level in levels}
        self.conv_stem = _Convolution(3, _STEM_CHANNELS, kernel_size=3, stride=2)
        self.bn1 = _norm(_STEM_CHANNELS)
        stages, channels = [], _STEM_CHANNELS
        for index, (kernel_size, stride, expansion, base, repeats) in enumerate(_STAGES):
            outputs = _scaled(base, width)
            # The first and the last stage are not deepened.
            count = ceil(repeats * depth) if 0 < index < len(_STAGES) - 1 else repeats
            blocks = []
            for number in range(count):
                step = stride if number == 0 else 1
                if expansion == 1:
                    blocks.append(_SeparableBlock(channels, outputs, kernel_size, step))
                else:
                    blocks.append(_ResidualBlock(channels, outputs, kernel_size, step, expansion))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        for name in omitted:
            self._leave_out(name)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=sqrt(2.0 / fan_out))

    def _leave_out(self, name: str) -> None:
        stage, _, number = name.partition('.')
        block = dict(self.blocks.named_modules()).get(name)
        if not isinstance(block, _ResidualBlock) or not block.skips:
            raise ValueError(f'{name!r} is no block with a skip')
        self.blocks[int(stage)][int(number)] = nn.Identity()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Encode (B, 3, H, W), H and W multiples of 32, into the maps of the levels asked for."""
        x = F.relu6(self.bn1(self.conv_stem(image)), inplace=True)
        maps = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in self._outputs:
                maps.append(x)
        return maps


class _Convolution(nn.Conv2d):
    """Without bias, and padded as TensorFlow does: with stride 2, more after an image of even sides than before it."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 1, stride: int = 1, groups: int = 1) -> None:
        padding = kernel_size // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False)
        before = (kernel_size - stride) // 2
        self._uneven = None if stride == 1 else (before, kernel_size - stride - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self._uneven is None else F.pad(x, self._uneven))


class _SeparableBlock(nn.Module):
    """A depthwise and a pointwise convolution: the only block of the first stage."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _Convolution(inputs, inputs, kernel_size, stride, groups=inputs)
        self.bn1 = _norm(inputs)
        self.conv_pw = _Convolution(inputs, outputs)
        self.bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)), inplace=True)))


class _ResidualBlock(nn.Module):
    """The inverted residual of MobileNetV2 (arXiv 1801.04381): wide in its middle, narrow at the skip."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        self.conv_pw = _Convolution(inputs, wide)
        self.bn1 = _norm(wide)
        self.conv_dw = _Convolution(wide, wide, kernel_size, stride, groups=wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = _Convolution(wide, outputs)
        self.bn3 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        wide = F.relu6(self.bn2(self.conv_dw(wide)), inplace=True)
        narrow = self.bn3(self.conv_pwl(wide))
        return narrow + x if self.skips else narrow


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


def _scaled(channels: int, factor: float) -> int:
    """The nearest multiple of 8, or the next one if that takes more than a tenth away."""
    scaled = channels * factor
    rounded = max(_CHANNEL_MULTIPLE, int(scaled + _CHANNEL_MULTIPLE / 2) // _CHANNEL_MULTIPLE * _CHANNEL_MULTIPLE)
    return rounded if rounded >= 0.9 * scaled else rounded + _CHANNEL_MULTIPLE
