"""What the estimator says about an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from depth_anything_ros.estimation.resident import Resident


@dataclass(frozen=True)
class Timings:
    """Seconds spent on a batch; on a GPU each part is waited for."""

    preprocess_s: float
    network_s: float
    postprocess_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.preprocess_s + self.network_s + self.postprocess_s


@dataclass(frozen=True)
class Prediction:
    """A predicted image and what it means.

    values: float32 (H, W). kind 'disparity': relative inverse depth, larger is nearer, no unit, known up to scale
    and shift. kind 'depth': metres along the optical axis.
    network_size: (height, width) that the network saw. timings: of the batch this image was in.

    Kept on the device, values serve as an array, nobody has waited for them, so that there are no timings, and pixels
    is what they were predicted from: uint8 RGB (h, w, 3).
    """

    values: np.ndarray | Resident
    kind: str
    network_size: tuple[int, int]
    timings: Timings | None
    pixels: torch.Tensor | None = None

    @property
    def nearness(self) -> np.ndarray | Resident:
        """Values of which larger is nearer, for pictures: disparity, or 1 / depth in 1/m; +Inf at no depth."""
        if self.kind == 'disparity':
            return self.values
        with np.errstate(divide='ignore'):
            return np.float32(1.0) / self.values
