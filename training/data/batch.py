"""What a training step gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

_IMAGES = ('image', 'clean')
_MAPS = ('target', 'mask', 'box', 'other_target', 'other_mask')


@dataclass
class StreamBatch:
    """This process's samples of a stream.

    Attributes:
        image: (B, 3, h, w) float32, normalised, as the student sees it: perturbed, and with the boxes pasted in.
        target: (B, h, w) float32, 0 outside the mask.
        mask: (B, h, w) bool, where the target is known.
        keys: of the samples.
        clean: (B, 3, h, w) float32, normalised, without perturbation and boxes; None if the view gives none.
        box: (B, h, w) bool, where the image is that of the neighbour (slots 2k and 2k + 1); None without CutMix.
        other_target: (B, h, w) float32, the neighbour's target, which holds inside the box; None without CutMix.
        other_mask: (B, h, w) bool, its mask; None without CutMix.
    """

    image: Tensor
    target: Tensor
    mask: Tensor
    keys: list[str]
    clean: Tensor | None = None
    box: Tensor | None = None
    other_target: Tensor | None = None
    other_mask: Tensor | None = None

    def to(self, device: torch.device | str) -> StreamBatch:
        """The same on a device; from pinned memory, without waiting."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> StreamBatch:
        """The same in pinned memory."""
        return self._mapped(Tensor.pin_memory)

    def every(self, stride: int) -> StreamBatch:
        """The same images with the targets, masks and boxes of every stride-th pixel, (B, h // stride, w // stride).

        From one edge to the other, as the network's head lays out a smaller map.
        """
        if stride == 1:
            return self
        rows, columns = (
            torch.linspace(0, side - 1, side // stride, device=self.target.device).round().long()
            for side in self.target.shape[-2:]
        )
        return self._picked(rows, columns)

    def at_size(self, size: tuple[int, int]) -> StreamBatch:
        """The middle of all, of the shape of a (height, width), at that size: images antialiased, maps by nearest."""
        whole = self.image.shape[-2:]
        if whole == size:
            return self
        scale = max(new / old for new, old in zip(size, whole, strict=True))
        cut = [min(old, round(new / scale)) for new, old in zip(size, whole, strict=True)]
        top, left = ((old - part) // 2 for old, part in zip(whole, cut, strict=True))
        rows, columns = (
            # The pixel in which the middle of the new one lies.
            start + ((torch.arange(new, device=self.target.device) + 0.5) * (part / new)).long()
            for start, new, part in zip((top, left), size, cut, strict=True)
        )

        def resized(images: Tensor) -> Tensor:
            middle = images[..., top : top + cut[0], left : left + cut[1]]
            return functional.interpolate(middle, size, mode='bilinear', antialias=True)

        return self._picked(rows, columns)._mapped(resized, _IMAGES)

    def _picked(self, rows: Tensor, columns: Tensor) -> StreamBatch:
        """Targets, masks and boxes at some pixels, images as they are."""
        return self._mapped(lambda values: values[:, rows[:, None], columns], _MAPS)

    def _mapped(self, action: Callable[[Tensor], Tensor], names: Sequence[str] = _IMAGES + _MAPS) -> StreamBatch:
        tensors = {name: getattr(self, name) for name in names}
        return replace(self, **{name: action(value) for name, value in tensors.items() if value is not None})


@dataclass
class Batch:
    """What this process trains on in one step.

    Attributes:
        step: its number.
        streams: by name.
        skipped: bad samples, which others replace, by key, and how often each came up in this batch.
        reasons: what was wrong with them, by key.
    """

    step: int
    streams: dict[str, StreamBatch]
    skipped: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return replace(self, streams={name: stream.to(device) for name, stream in self.streams.items()})

    def pin_memory(self) -> Batch:
        """The same in pinned memory."""
        return replace(self, streams={name: stream.pin_memory() for name, stream in self.streams.items()})
