"""Views: from a sample, of whatever size, to what the network is trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import torch

from depth_anything_ros.estimation.preprocessing import MAX_ASPECT_RATIO
from depth_anything_ros.network import IMAGE_MEAN, IMAGE_STD
from training.data.perturbation import degrade, perturb
from training.data.points import lies_in, rasterise
from training.data.sample import Sample
from training.errors import BadSampleError


@dataclass
class Example:
    """A view of a sample, all of one size, in register.

    Attributes:
        image: (h, w, 3) uint8 RGB, as the network sees it.
        clean: (h, w, 3) uint8 RGB, the same without the strong perturbation; None if not asked for.
        target: (h, w) float32, 0 outside the mask.
        mask: (h, w) bool, where the target is known.
    """

    image: np.ndarray
    clean: np.ndarray | None
    target: np.ndarray
    mask: np.ndarray


class View(Protocol):
    """Turns samples into examples, all of one size. It is picklable."""

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Example:
        """One view; all chance comes from the generator. Raises BadSampleError."""


@dataclass(frozen=True)
class TrainView:
    """The papers' view: resized to cover the crop, cropped, mirrored, and for the student's pseudo-labels perturbed.

    The image is resized with the bicubic kernel, keeping the aspect, to the nearest multiple, as for inference (so the
    network is trained on what it will see), but in 8 bits. Images smaller than the crop are enlarged. The target is
    that of the nearest pixel, as in V2's metric training; of a sample with points alone, the nearest point in each
    pixel of the view. It is not brought to 0..1 per map as the papers say: the affine-invariant loss does that, by
    median and deviation, in any unit.

    Attributes:
        size: side of the square crop, or (height, width) of it (V1 paper, section 6: 518).
        multiple: of which sides must be (architecture.multiple).
        target: `disparity`, 0 for the sky and known there (V1 paper, section 3.1), or `depth` in metres, the sky
            unknown (V2's metric training).
        crop: `random`, or `centre` for a view that is always the same.
        zoom: smallest share of the sides that a view shows, of those that would be in it otherwise; drawn evenly up to
            1, and not so small that the image had to be enlarged. 1: always all.
        roll: degrees, the most by which a view is turned about its centre, as a camera is that is not held upright;
            drawn evenly up to it, either way. It shows less then, so that nothing is beyond the image.
        border: probability of a border without picture, as rectified images have (see hide_border).
        degrade: probability of a bad exposure, as a moving camera in poor light makes it (see degrade).
        flip: probability of mirroring, left to right.
        strong: perturb the image's colours and sharpness (see perturb).
        clean: give the image as it is too, neither perturbed nor degraded.
        mask_sky: treat the sky's disparity as unknown, where there is depth that says which pixels are sky.
        min_depth: of a depth target, metres; nearer pixels are unknown.
        max_depth: of a depth target, metres; farther pixels are unknown.

    Raises:
        ValueError: a value is out of range.
    """

    size: int | tuple[int, int]
    multiple: int = 14
    target: Literal['disparity', 'depth'] = 'disparity'
    crop: Literal['random', 'centre'] = 'random'
    zoom: float = 1.0
    roll: float = 0.0
    border: float = 0.0
    degrade: float = 0.0
    flip: float = 0.5
    strong: bool = False
    clean: bool = False
    mask_sky: bool = False
    min_depth: float = 0.001
    max_depth: float = float('inf')

    def __post_init__(self) -> None:
        height, width = self.shape
        if min(height, width) < 1 or height % self.multiple or width % self.multiple:
            raise ValueError(f'the crop is {width}x{height}: its sides must be multiples of {self.multiple}')
        if self.target not in ('disparity', 'depth') or self.crop not in ('random', 'centre'):
            raise ValueError(f'no such target {self.target!r} or crop {self.crop!r}')
        if not 0 < self.zoom <= 1:
            raise ValueError(f'zoom is a share of the sides, got {self.zoom}')
        if not 0 <= self.roll <= 90:
            raise ValueError(f'roll is an angle of 0 to 90 degrees, got {self.roll}')
        for name in ('border', 'degrade', 'flip'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is a probability, got {getattr(self, name)}')
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(f'expected 0 < min_depth < max_depth, got {self.min_depth} and {self.max_depth}')

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the view."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Example:
        """A view of the sample; raises BadSampleError if it has no such target, or is a ribbon."""
        angle = generator.uniform(-self.roll, self.roll) if self.roll else 0.0
        needed = turned_extent(self.shape, angle)
        size = self._shown_size(sample, needed, generator)
        target = self._target(sample, size)
        # All chance in one order, whatever is asked for: the same generator gives the same crop, perturbed or not.
        window, mirrored = self._window(size, needed, generator), generator.random() < self.flip
        image = self._turned(_cut(sample.image, size, cv2.INTER_CUBIC, window), angle, cv2.INTER_CUBIC, mirrored)
        # Not INTER_NEAREST, which is off by up to half a pixel.
        target = _cut(target, size, cv2.INTER_NEAREST_EXACT, window)
        target = self._turned(target, angle, cv2.INTER_NEAREST, mirrored)
        mask = np.isfinite(target)
        target[~mask] = 0
        seen = perturb(image, generator) if self.strong else image
        if self.degrade and generator.random() < self.degrade:
            seen = degrade(seen, generator)
        example = Example(
            image=seen,
            clean=image if self.clean else None,
            target=target,
            mask=mask,
        )
        return hide_border(example, generator) if self.border and generator.random() < self.border else example

    def _target(self, sample: Sample, size: tuple[int, int]) -> np.ndarray:
        """Float32, NaN where unknown: (H, W) as the image, or from points (h, w) at the size given."""
        sparse = sample.points is not None and sample.depth is None and sample.disparity is None
        if self.target == 'disparity':
            return 1 / _sparse_depth(sample, size) if sparse else self._disparity(sample)
        depth = _sparse_depth(sample, size) if sparse else sample.depth
        if depth is None or sample.meta.get('scale') == 'arbitrary':
            raise BadSampleError(f'{sample.key}: no depth in metres to train with')
        known = (depth >= self.min_depth) & (depth <= self.max_depth)
        if sample.valid is not None and not sparse:
            known &= sample.valid
        return np.where(known, depth, np.float32(np.nan)).astype(np.float32)

    def _disparity(self, sample: Sample) -> np.ndarray:
        target = sample.target_disparity()
        if target is None:
            raise BadSampleError(f'{sample.key}: no disparity, depth or points to train with')
        if self.mask_sky and sample.depth is not None:
            target[np.isposinf(sample.depth)] = np.nan
        return target

    def _shown_size(self, sample: Sample, needed: tuple[int, int], generator: np.random.Generator) -> tuple[int, int]:
        """The size of the image from which what the view needs is cut."""
        height, width = sample.image.shape[:2]
        if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
            raise BadSampleError(f'{sample.key}: {width}x{height} is longer than {MAX_ASPECT_RATIO:g} to 1')
        size = covering_size(height, width, self.shape, self.multiple)
        enlarged = max(part / whole for part, whole in zip(needed, self.shape, strict=True))
        size = math.ceil(size[0] * enlarged), math.ceil(size[1] * enlarged)
        if self.zoom == 1:
            return size
        smallest = max(self.zoom, size[0] / height, size[1] / width)
        share = generator.uniform(min(smallest, 1.0), 1.0)
        return round(size[0] / share), round(size[1] / share)

    def _window(
        self, size: tuple[int, int], needed: tuple[int, int], generator: np.random.Generator
    ) -> tuple[slice, slice]:
        spare = [side - cropped for side, cropped in zip(size, needed, strict=True)]
        starts = [int(generator.integers(0, rest + 1)) for rest in spare]
        if self.crop == 'centre':
            starts = [rest // 2 for rest in spare]
        top, left = starts
        return slice(top, top + needed[0]), slice(left, left + needed[1])

    def _turned(self, array: np.ndarray, angle: float, kernel: int, mirrored: bool) -> np.ndarray:
        """The view in the middle of what it needs, turned by the angle; mirrored."""
        height, width = self.shape
        if array.shape[:2] != self.shape:
            rows, columns = array.shape[:2]
            # Depth along the optical axis stays what it is when the camera turns about it.
            turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle, 1.0)
            turn[:, 2] += (width - columns) / 2, (height - rows) / 2
            array = cv2.warpAffine(array, turn, (width, height), flags=kernel, borderMode=cv2.BORDER_REPLICATE)
        return cv2.flip(array, 1) if mirrored else np.ascontiguousarray(array)


def _sparse_depth(sample: Sample, size: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 of the points, made at the view's size: of a map of the image's, resizing would lose most."""
    height, width = sample.image.shape[:2]
    points = sample.points.astype(np.float64)
    if sample.valid is not None:
        points = points[lies_in(points, sample.valid)]
    points[:, :2] = (points[:, :2] + 0.5) * (size[1] / width, size[0] / height) - 0.5
    return rasterise(points, size)


def covering_size(height: int, width: int, crop: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(height, width) at which an image just covers a crop, keeping its aspect but for rounding.

    One side becomes that of the crop, the other is rounded to the nearest multiple. For square crops this is the
    official preprocessing's rule (estimation.preprocessing.network_size).
    """
    scale = max(crop[0] / height, crop[1] / width)
    rounded = [round(side * scale / multiple) * multiple for side in (height, width)]
    return max(rounded[0], crop[0]), max(rounded[1], crop[1])


def turned_extent(shape: tuple[int, int], angle: float) -> tuple[int, int]:
    """(height, width) of the upright rectangle around one of a shape (height, width) that is turned, in degrees."""
    height, width = shape
    sine, cosine = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    return math.ceil(height * cosine + width * sine), math.ceil(width * cosine + height * sine)


def _cut(array: np.ndarray, size: tuple[int, int], kernel: int, window: tuple[slice, slice]) -> np.ndarray:
    """Resize to (height, width), and cut the window out."""
    return cv2.resize(array, size[::-1], interpolation=kernel)[window]


def hide_border(example: Example, generator: np.random.Generator) -> Example:
    """The example with a border of one colour, in which nothing is known.

    A rectified image has one where the lens saw nothing, with edges that curve in or out; drivers and players add
    straight ones. Black with probability 0.6, white with 0.2, else of any colour; at each side, with probability 0.8,
    up to 8 % of the picture and up to 12 % more at its ends or in its middle.
    """
    height, width = example.mask.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing='ij')
    hidden = np.zeros((height, width), bool)
    for across, along in ((x, y), (-x, y), (y, x), (-y, x)):
        there, width_share, bend = generator.random() < 0.8, generator.uniform(0, 0.08), generator.uniform(-0.12, 0.12)
        curve = bend * along**2 if bend > 0 else bend * (along**2 - 1)
        # From edge to edge is 2.
        hidden |= there & (1 - across < 2 * (width_share + curve))
    black, white, colour = 0.6, 0.8, generator.integers(0, 256, 3)
    which = generator.random()
    colour = np.uint8(0) if which < black else np.uint8(255) if which < white else colour.astype(np.uint8)

    def shown(image: np.ndarray) -> np.ndarray:
        return np.where(hidden[..., None], colour, image)

    return Example(
        image=shown(example.image),
        clean=None if example.clean is None else shown(example.clean),
        target=np.where(hidden, np.float32(0), example.target),
        mask=example.mask & ~hidden,
    )


def normalise(image: np.ndarray) -> torch.Tensor:
    """An image as the network takes it: (h, w, 3) uint8 RGB -> (3, h, w) float32."""
    mean, std = (255.0 * torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return torch.sub(pixels, mean, out=torch.empty(pixels.shape)).div_(std)
