"""The table of networks: what distinguishes one Depth Anything from another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""What every network's input is normalised with, RGB in 0..1: ImageNet's statistics, as DINOv2 was trained with."""


@dataclass(frozen=True)
class Architecture:
    """One network.

    The weights of two that differ only in `taps`, `output_stride`, or in being metric, have the same names and shapes.

    Attributes:
        name: what users call it, for example `v2-small`.
        encoder: timm's name of the Vision Transformer, or of a convolutional encoder.
        width: channels of the encoder's last map; of a transformer, the size of a token (the embedding dimension).
        taps: the four encoder blocks (counted from 0) the head reads, ascending. The last one is the last block. Of a
            convolutional encoder, timm's indices of its levels.
        features: channels of the head's fusion path.
        channels: channels of the head's four input levels, finest first.
        input_size: what an image's shorter side is scaled to for this network, in pixels, unless somebody asks for
            another size: what it was trained at.
        output_stride: pixels of the input, across and down, for one of the map that the head's last convolutions work
            on: 1, as in the papers, or 2, which takes a quarter of their time; the map is enlarged after them.
        omitted: blocks of a convolutional encoder that are left out, each as timm names it, `stage.number`.
        max_depth: metres that the metric head's sigmoid spans, or None for a relative network.
        canonical_focal_px: focal length of a metric network's training images, in pixels of what it saw, or None if
            there is none or nobody knows.
    """

    name: str
    encoder: str
    width: int
    taps: tuple[int, int, int, int]
    features: int
    channels: tuple[int, int, int, int]
    input_size: int = 518
    output_stride: Literal[1, 2] = 1
    omitted: tuple[str, ...] = ()
    max_depth: float | None = None
    canonical_focal_px: float | None = None

    @property
    def kind(self) -> Literal['disparity', 'depth']:
        """What the output is: relative inverse depth (larger is nearer, no unit) or depth in metres."""
        return 'disparity' if self.max_depth is None else 'depth'

    @property
    def pyramid(self) -> bool:
        """Whether the encoder is convolutional, so that its levels are the head's pyramid as they are."""
        return not self.encoder.startswith('vit_')

    @property
    def blocks(self) -> int:
        """Number of transformer blocks."""
        return self.taps[-1] + 1


# The official configurations by size: encoder, width, V2 taps, head features, head channels.
_SIZES = {
    'small': ('vit_small_patch14_dinov2', 384, (2, 5, 8, 11), 64, (48, 96, 192, 384)),
    'base': ('vit_base_patch14_dinov2', 768, (2, 5, 8, 11), 128, (96, 192, 384, 768)),
    'large': ('vit_large_patch14_dinov2', 1024, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
    'giant': ('vit_giant_patch14_dinov2', 1536, (9, 19, 29, 39), 384, (1536, 1536, 1536, 1536)),
}

# The metric fine-tunes of V2, on Hypersim's rooms and Virtual KITTI 2's streets: the depth they span in metres, and the
# focal length they saw. The training (metric_depth/dataset of Depth-Anything-V2) scales the shorter side to 518, the
# other alike, rounded to a multiple of 14, and cuts a square out, which leaves the focal length. We take the geometric
# mean of both directions: of 1024x768 with 886.81 px (apple/ml-hypersim: 60 degrees wide) seen as 686x518, and of
# 1242x375 with 725.0087 px (intrinsic.txt of Virtual KITTI 2) seen as 1722x518.
_METRIC = {'indoor': (20.0, 596.11), 'outdoor': (80.0, 1003.34)}

# EfficientNet-Lite under the same head: for machines without a GPU. Levels of stride 4, 8, 16 and 32. The weights of
# `tiny` come with this package, those of the others from somebody's training.
_LITE = {
    'lite0': ('tf_efficientnet_lite0', (24, 40, 112, 320)),
    'lite1': ('tf_efficientnet_lite1', (24, 40, 112, 320)),
    'lite2': ('tf_efficientnet_lite2', (24, 48, 120, 352)),
}
_LITE_FEATURES, _TINY_FEATURES = 64, 32
# What `tiny` does without, of `tiny-deep`, as which it is trained first: docs/tiny/trials.md has what each costs.
_TINY_OMITTED = ('2.1', '3.2', '3.3')
_LITE_INPUT_SIZE = 256


def _table() -> dict[str, Architecture]:
    relative = [Architecture(f'v2-{size}', *settings) for size, settings in _SIZES.items()]
    released = relative[:3]
    # V1 reads the last four blocks, by accident, and its weights have to be run that way.
    v1 = [replace(v2, name=v2.name.replace('v2', 'v1'), taps=tuple(range(v2.blocks - 4, v2.blocks))) for v2 in released]
    metric = [
        replace(v2, name=f'{v2.name}-{scene}', max_depth=max_depth, canonical_focal_px=focal_px)
        for v2 in released
        for scene, (max_depth, focal_px) in _METRIC.items()
    ]
    lite = [
        Architecture(name, encoder, channels[-1], (1, 2, 3, 4), _LITE_FEATURES, channels, _LITE_INPUT_SIZE)
        for name, (encoder, channels) in _LITE.items()
    ]
    deep = replace(lite[2], name='tiny-deep', features=_TINY_FEATURES, output_stride=2)
    tiny = replace(deep, name='tiny', omitted=_TINY_OMITTED)
    return {network.name: network for network in (tiny, *relative, *v1, *metric, *lite, deep)}


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(_table())
"""All networks by name: `tiny`, `v2-small|base|large|giant`, `v1-small|base|large`,
`v2-small|base|large-indoor|outdoor`, `lite0|1|2` and `tiny-deep`. `tiny*` and `lite*` are not of the papers."""
