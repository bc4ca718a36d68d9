"""Depth Anything: an encoder, its reassembled feature pyramid, and the head."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from depth_anything_ros.network.architectures import ARCHITECTURES, Architecture
from depth_anything_ros.network.encoder import PATCH, DinoV2Encoder
from depth_anything_ros.network.head import DPTHead, Reassemble
from depth_anything_ros.network.pyramid import MULTIPLE, PyramidEncoder
from depth_anything_ros.network.state_dict import from_official
from depth_anything_ros.network.weights import WeightSource


class DepthAnything(nn.Module):
    """Monocular depth, V1 (arXiv 2401.10891) and V2 (arXiv 2406.09414), relative and metric.

    Attributes:
        architecture: which network this is; `architecture.kind` says what it puts out.
        source: where its weights came from; `source.trained` is False for random ones.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build with random weights."""
        super().__init__()
        self.architecture = architecture
        self.source = WeightSource('random', trained=False)
        if architecture.pyramid:
            self.encoder = PyramidEncoder(architecture.encoder, architecture.taps, architecture.omitted)
            self.reassemble = nn.Identity()
        else:
            self.encoder = DinoV2Encoder(architecture.encoder, architecture.taps)
            self.reassemble = Reassemble(architecture.width, architecture.channels)
        full_size = architecture.output_stride == 1
        self.head = DPTHead(architecture.channels, architecture.features, architecture.max_depth, full_size)

    @classmethod
    def from_name(cls, name: str) -> 'DepthAnything':
        """Build a network of the table with random weights.

        Args:
            name: a key of `ARCHITECTURES`, for example `v2-small`.

        Raises:
            ValueError: no such network.
        """
        if name not in ARCHITECTURES:
            raise ValueError(f'unknown network {name!r}; choose one of {", ".join(ARCHITECTURES)}')
        return cls(ARCHITECTURES[name])

    @property
    def multiple(self) -> int:
        """What the sides of an input image are multiples of, in pixels."""
        return MULTIPLE if self.architecture.pyramid else PATCH

    def load_official_state_dict(self, state_dict: Mapping[str, object]) -> None:
        """Take weights in the layout of the official repositories, as they are on the hub.

        Wrappers (`{'model': ...}`, `{'state_dict': ...}`, a `module.` prefix) are removed. V1 and V2 weights
        have the same names and shapes: the caller has to know which they are.

        Args:
            state_dict: official names to tensors.

        Raises:
            StateDictMismatchError: a name or shape does not fit; the network is unchanged.
        """
        self.load_state_dict(from_official(state_dict, self.state_dict(), self.architecture))
        self.source = WeightSource(self.architecture.name, trained=True)

    def forward(self, image: Tensor) -> Tensor:
        """Estimate.

        Args:
            image: (B, 3, H, W), RGB in 0..1 less the ImageNet mean, over the ImageNet deviation. H and W are
                multiples of `multiple`.

        Returns:
            (B, H, W), at least 0: disparity (larger is nearer, no unit) or metres, as `architecture.kind` says.

        Raises:
            ValueError: H or W is not a positive multiple of `multiple`, or the input has another rank.
        """
        # A trace holds for one shape only, and the check would end up in it as a warning.
        if not torch.jit.is_tracing():
            _check_shape(image, self.multiple)
        return self.head(self.reassemble(self.encoder(image)), image.shape[-2:])


def _check_shape(image: Tensor, multiple: int) -> None:
    expected = f'expected an image tensor (B, 3, H, W) with H and W multiples of {multiple}'
    if image.dim() != 4 or image.shape[1] != 3:
        raise ValueError(f'{expected}, got shape {tuple(image.shape)}')
    height, width = image.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise ValueError(f'{expected}, got {height}x{width}: resize or pad it first')
