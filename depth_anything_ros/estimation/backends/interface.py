"""What a backend is, and how far it may be from torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from depth_anything_ros.estimation.errors import BackendUnavailableError

_log = logging.getLogger(__name__)

Run = Callable[[torch.Tensor], torch.Tensor]
"""Runs the network: float32 (B, 3, H, W) normalised in, float32 (B, H, W) out."""

LIMITS = {'fp32': 1e-3, 'bf16': 1e-2, 'fp16': 1e-2, 'int8': 3e-2}
"""What a compiled network may differ from torch fp32 by precision, as `deviation` has it."""


class Backend(Protocol):
    """Runs the network, and says on what; both tensors are on `device`.

    name: the backend. device: where its tensors are. hardware: what computes, as users name devices. precision: what
    it computes in. reason: why it is this one, in words. parallel: how many threads that call it at the same time get
    more done than one; 1 where that is not so. All but the device may change from call to call.

    On a CPU any number of threads may call it.
    """

    name: str
    device: torch.device
    hardware: str
    precision: str
    reason: str
    parallel: int

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run; raises BackendUnavailableError if this input cannot be served."""

    def release(self) -> None:
        """Give back the GPU's memory that it can do without; it goes on working."""

    def close(self) -> None:
        """End what still works for it."""


class Compiler(Protocol):
    """Makes a network ready for one input size at a time.

    name, device, hardware, parallel: as of a Backend. precisions: those to try, best first.
    """

    name: str
    device: torch.device
    hardware: str
    parallel: int
    precisions: tuple[str, ...]

    def compile(self, batch: torch.Tensor, precision: str) -> Run:
        """Make what runs batches of this shape; raises BackendUnavailableError."""


class CachingCompiler(Compiler, Protocol):
    """A compiler whose slow part is kept in the cache."""

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """Whether compile is quick for this shape, since the slow part of it is in the cache."""

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Put the slow part of compile into the cache; raises BackendUnavailableError."""


def deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean |difference| over mean |expected|; NaN if something is not finite."""
    difference = (found - expected).abs().mean()
    return (difference / expected.abs().mean().clamp_min(1e-6)).item()


def first_accurate(
    name: str, precisions: Sequence[str], make: Callable[[str], Run], batch: torch.Tensor, expected: torch.Tensor
) -> tuple[str, Run]:
    """Make the backend's run in the first precision that is within LIMITS on this batch; what was left goes to the log.

    expected: what torch says in fp32. Raises BackendUnavailableError if there is none.
    """
    refusals = []
    for precision in precisions:
        run = make(precision)
        found = deviation(run(batch), expected)
        if found <= LIMITS[precision]:
            if refusals:
                _log.warning('%s: %s in its place', '; '.join(refusals), precision)
            return precision, run
        refusals.append(
            f'{name} in {precision} differs from torch fp32 by {found:.2%} on this image, more than '
            f'{LIMITS[precision]:.1%}'
        )
    raise BackendUnavailableError(f"{'; '.join(refusals)}: take backend 'torch' in fp32, or another precision")
