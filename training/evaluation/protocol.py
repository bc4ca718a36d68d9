"""Protocols: everything about an evaluation that changes its numbers, pinned in a file per data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np

from training.configs import config_file
from training.data.spec import DataSpec
from training.errors import BadSampleError, RecipeError
from training.recipe import free, read_recipe

TRUTH_OF_PAIRS = 'pairs'


@dataclass(frozen=True)
class Protocol:
    """How a data set is evaluated. A prediction is interpolated to the truth's resolution (V1 paper, section 6).

    Attributes:
        data: which data set and which part of it; its path comes from the evaluation's settings.
        truth: what it is compared with: `depth` (dense), `points` (sparse, at the nearest pixel), or `pairs` (DA-2K:
            which of two points is nearer).
        alignment: how a prediction becomes metres, per image. `disparity`: least squares of scale * disparity + shift =
            1 / depth (of a metric network's 1 / depth, too), where a scale below zero counts as zero, so that what is
            upside down does not pass for right. `median`: a metric network's depth times the median of truth / depth.
            `none`: a metric network's depth as it is.
        min_depth, max_depth: metres; truth outside does not count.
        crop: top, bottom, left, right (bottom and right excluded) of what counts: pixels, or, if none exceeds 1, shares
            of the height and the width, rounded down. Empty: the whole image.
        clip: what the depth is limited to once aligned; where the aligned disparity is not positive the depth is the
            upper limit. `range`: min_depth to max_depth. `truth`: min_depth to the image's largest valid true depth.
        min_pixels: images with fewer valid pixels are skipped.
        edges: also measure the sharpness of depth edges; needs dense truth that is sharp itself.
        sequence: what makes images neighbours in time, to measure flicker: `none`; `scene`: the order of those of a
            `scene`; `time`: the `stamp_ns` of those of a `bag` and `topic`.
        max_gap_s: with `time`, frames farther apart are no neighbours.
        images: how many the data set then has, 0 if nobody says; another number is told beside the results.
        paper: what the papers report, by network and metric.
    """

    data: DataSpec
    truth: Literal['depth', 'points', 'pairs'] = 'depth'
    alignment: Literal['disparity', 'median', 'none'] = 'disparity'
    min_depth: float = 1e-3
    max_depth: float = inf
    crop: list[float] = field(default_factory=list)
    clip: Literal['range', 'truth'] = 'range'
    min_pixels: int = 100
    edges: bool = False
    sequence: Literal['none', 'scene', 'time'] = 'none'
    max_gap_s: float = 0.5
    images: int = 0
    paper: dict[str, dict[str, float]] = free(default_factory=dict)  # noqa: RUF009, it is a field

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.0 < self.min_depth < self.max_depth:
            raise ValueError(f'expected 0 < min_depth < max_depth, got {self.min_depth} and {self.max_depth}')
        if self.clip == 'range' and self.max_depth == inf and self.truth != TRUTH_OF_PAIRS:
            raise ValueError('clip: range needs a max_depth')
        if self.min_pixels < 2:
            raise ValueError(f'min_pixels must be at least 2, got {self.min_pixels}')
        if self.edges and self.truth != 'depth':
            raise ValueError('edges need truth: depth')
        if not self.max_gap_s > 0.0:
            raise ValueError(f'max_gap_s must be positive, got {self.max_gap_s}')
        if self.crop:
            self._check_crop()

    def _check_crop(self) -> None:
        if len(self.crop) != 4 or min(self.crop) < 0:
            raise ValueError(f'crop is [top, bottom, left, right], none negative, got {self.crop}')
        top, bottom, left, right = self.crop
        if not (top < bottom and left < right):
            raise ValueError(f'crop must have top < bottom and left < right, got {self.crop}')

    def crop_window(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns of an image of this size that count.

        Raises:
            BadSampleError: a crop in pixels that does not lie in it.
        """
        if not self.crop:
            return slice(0, height), slice(0, width)
        top, bottom, left, right = self.crop
        if max(self.crop) <= 1.0:
            top, bottom, left, right = top * height, bottom * height, left * width, right * width
        elif bottom > height or right > width:
            raise BadSampleError(f'the crop {self.crop} does not lie in an image of {height} rows, {width} columns')
        return slice(int(top), int(bottom)), slice(int(left), int(right))

    def valid(self, depth: np.ndarray) -> np.ndarray:
        """Which values are true depths that count, of the shape of depth, bool: known, no sky, in the range."""
        with np.errstate(invalid='ignore'):
            return np.isfinite(depth) & (depth >= self.min_depth) & (depth <= self.max_depth)


def read_protocol(name: str) -> Protocol:
    """Read a protocol: one that comes with the package, by name (`nyu`), or a YAML file, by path.

    Raises:
        RecipeError: there is none of that name, or it is wrong.
    """
    if not name:
        raise RecipeError('name a protocol: one of the package (nyu, kitti, robot, ...) or a file .yaml')
    return read_recipe(Protocol, config_file(name, 'protocols'))
