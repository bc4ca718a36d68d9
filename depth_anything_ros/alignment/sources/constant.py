"""Sources that look at nothing."""

from __future__ import annotations

from dataclasses import dataclass

from depth_anything_ros.alignment.alignment import Alignment
from depth_anything_ros.alignment.hook import EvidenceError, FrameSource, View, parameter


@dataclass(frozen=True)
class NoSource(FrameSource):
    """No metres: a relative model stays relative."""

    def measure(self, evidence: None, view: View) -> Alignment:
        """Raise EvidenceError: there is none."""
        raise EvidenceError('alignment.source is none')


@dataclass(frozen=True)
class FixedSource(FrameSource):
    """A scale and a shift that the user measured."""

    scale: float = parameter(0.0, 'Scale in 1/z = scale * disparity + shift, 1/m.', between=(0.0, 1e9))
    shift: float = parameter(0.0, 'Shift, 1/m.', between=(-1e9, 1e9))

    def __post_init__(self) -> None:
        """Raises ValueError unless the scale is positive."""
        Alignment(self.scale, self.shift)

    def measure(self, evidence: None, view: View) -> Alignment:
        """The same for every frame."""
        return Alignment(self.scale, self.shift)
