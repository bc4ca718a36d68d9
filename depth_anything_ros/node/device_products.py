"""How what is published of a frame is made where the prediction is: on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, inf
from weakref import proxy

import numpy as np
import torch

from depth_anything_ros.alignment import Alignment
from depth_anything_ros.alignment.field import basis_over_image
from depth_anything_ros.alignment.tensors import (
    alignment_numbers,
    depth_of_inverse,
    inverse_depth,
    inverse_sigma_of_inverse,
    sigma_of_inverse,
)
from depth_anything_ros.estimation.backends.torch_backends import RUNS_BEFORE_CAPTURE, captured
from depth_anything_ros.estimation.devices import with_room
from depth_anything_ros.estimation.resident import check_finite
from depth_anything_ros.estimation.transfer import numbers_to_device, to_host
from depth_anything_ros.geometry import CameraModel, DepthRectifier
from depth_anything_ros.geometry.cloud import HARDLY_NEAR, MOSTLY_FREE, voxel_centroids
from depth_anything_ros.geometry.colorize import PERCENTILES, palette
from depth_anything_ros.geometry.tensors import (
    backproject,
    colorize,
    compacted,
    mark_depth,
    marked_sigma,
    rectified,
    rectifier_maps,
    resized,
)
from depth_anything_ros.lru import LRUDict
from depth_anything_ros.messages import fill_packed_points, fill_point_cloud, unpack_colors
from depth_anything_ros.messages.tensors import depth_to_millimetres, pack_points
from depth_anything_ros.node.products import (
    COLOR,
    DEPTH,
    DEPTH_INFO,
    METRES,
    MILLIMETRES,
    POINTS,
    RECTIFIED,
    RELATIVE,
    SIGMA,
    TOPICS,
    Fill,
    Products,
    image_fill,
    leave,
    topics_with_sigma,
)

# What comes down beside the topics: whether the prediction is finite, whether there are points or the view is free, and
# of how many points a compact cloud is.
_FINITE, _KNOWN, _COUNT = 'finite', 'known', 'count'
_DTYPES = {torch.float32: np.float32, torch.int32: np.int32, torch.int16: np.uint16, torch.uint8: np.uint8}
# In place of an alignment's, and as many: with or without one it is the same plan, and its graph takes one shape.
_NO_NUMBERS = alignment_numbers(Alignment(scale=1.0, shift=0.0))
# Subscribers come and go, and so do the topics that are wanted together.
_PLANS = 4


@dataclass(frozen=True)
class _Work:
    """All that decides which operations make the products of a frame.

    topics: those that carry pixels or points. size: (height, width) of the prediction. image_size: that of the picture.
    believed: the prediction is depth that needs no alignment. saturates: whether AlignedFrame's least_disparity is
    looked at. terms: of the alignment's field. camera: for points.
    rectifier: for images, None where nothing is to be rectified. certain: the largest relative deviation of a point, 0
    for any. The rest is as in Settings.
    """

    topics: frozenset[str]
    size: tuple[int, int]
    image_size: tuple[int, int]
    believed: bool
    saturates: bool
    terms: int
    camera: CameraModel | None
    rectifier: DepthRectifier | None
    limits: tuple[float, float, float]
    certain: float
    stride: int
    organized: bool
    color: bool
    colormap: str
    needs_sigma: bool

    @classmethod
    def of(cls, made: Products, topics: set[str]) -> _Work:
        settings, alignment, camera = made.settings, made.aligned.alignment, made.camera
        return cls(
            topics=frozenset(topics - {DEPTH_INFO}),
            size=made.aligned.disparity.shape,
            image_size=made.image.shape[:2],
            believed=made.aligned.believed is not None,
            saturates=made.aligned.least_disparity > -inf,
            terms=len(alignment.field) if alignment else 0,
            camera=camera.model if camera and POINTS in topics else None,
            rectifier=camera.rectifier if camera and topics & RECTIFIED else None,
            limits=(settings.range_min_m, settings.range_max_m, settings.edge_threshold),
            certain=settings.points_max_relative_sigma,
            stride=settings.points_stride,
            organized=settings.points_organized,
            color=settings.points_color,
            colormap=settings.colormap,
            needs_sigma=bool(topics & topics_with_sigma(settings)),
        )


class DeviceRender:
    """See Render: with torch, on the prediction's device, from which all comes down in one copy."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._plans: LRUDict[_Work, _Plan] = LRUDict(_PLANS)

    def __call__(self, made: Products, topics: set[str]) -> Iterator[tuple[str, Fill]]:
        """Make all of it; raises NonFinitePredictionError for the prediction, which nobody has looked at before."""
        aligned = made.aligned
        values = aligned.disparity if aligned.believed is None else aligned.believed
        numbers = alignment_numbers(aligned.alignment) if aligned.alignment else _NO_NUMBERS
        numbers = numbers_to_device((aligned.least_disparity, *numbers), self._device)
        inputs = values.tensor, values.finite, numbers, made.prediction.pixels
        work = _Work.of(made, topics)
        parts = with_room(lambda: self._plan(work)(*inputs), self._plans.clear, self._device)
        check_finite(bool(parts[_FINITE][0]), values.precision)
        for name in filter(topics.__contains__, TOPICS):
            if name != POINTS:
                yield name, leave if name == DEPTH_INFO else image_fill(name, parts[name])
            elif parts[_KNOWN][0]:
                yield name, _points_fill(parts, made.settings.points_voxel_m)

    def _plan(self, work: _Work) -> _Plan:
        if work not in self._plans:
            self._plans[work] = _Plan(work, self._device)
        return self._plans[work]


class _Plan:
    """The work on a frame, with what of it is the same for all frames kept on the device; captured if it repeats."""

    def __init__(self, work: _Work, device: torch.device) -> None:
        self._work = work
        self._layout: list[tuple[str, tuple[int, ...], np.dtype]] = []
        # By a proxy: plans that hold themselves, their graphs too, would not give their memory back when they go.
        self._run: Callable[..., torch.Tensor] = partial(_Plan._packed, proxy(self))
        self._runs = 0
        self._basis = self._sources = self._scale = self._rays = None
        if work.terms:
            self._basis = torch.tensor(basis_over_image(work.terms, *work.size), device=device)
        if work.rectifier is not None:
            self._sources, self._scale = rectifier_maps(work.rectifier, *work.size, device)
        if work.camera is not None:
            rays = work.camera.rays(*work.size)[:: work.stride, :: work.stride]
            self._rays = torch.tensor(rays, device=device)
            seen = int(np.isfinite(rays[..., 2]).sum())
            self._least_free, self._most_near = max(1, ceil(MOSTLY_FREE * seen)), floor(HARDLY_NEAR * seen)
        if COLOR in work.topics:
            self._palette = torch.tensor(palette(work.colormap)[:, ::-1].copy(), device=device)
            self._percentiles = torch.tensor(PERCENTILES, device=device) / 100.0

    def __call__(self, *inputs: torch.Tensor) -> dict[str, np.ndarray]:
        """The parts by name, of the inputs of _packed."""
        with torch.inference_mode():
            packed = self._run(*inputs)
            self._runs += 1
            if self._runs == RUNS_BEFORE_CAPTURE and packed.is_cuda:
                self._run = captured(self._run, *inputs, limit=0.0)
        data, parts, start = to_host(packed), {}, 0
        for name, shape, dtype in self._layout:
            end = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
            parts[name] = data[start:end].view(dtype).reshape(shape)
            start = end
        return parts

    def _packed(
        self, values: torch.Tensor, finite: torch.Tensor, numbers: torch.Tensor, pixels: torch.Tensor
    ) -> torch.Tensor:
        """All parts, one behind the other, uint8 (N,).

        values: float32 (H, W) disparity, or depth that is believed. numbers: the least disparity, which the stabilizer
        changes with each frame, and the alignment's. pixels: uint8 (h, w, 3).
        """
        parts = {_FINITE: finite.int().reshape(1), **self._pictures(values)}
        if self._work.topics & METRES:
            parts |= self._metres(values, numbers, pixels)
        # Each begins at a multiple of the size of its numbers, so the large ones come first.
        ordered = sorted(parts.items(), key=lambda item: -item[1].element_size())
        self._layout = [(name, tuple(part.shape), _DTYPES[part.dtype]) for name, part in ordered]
        return torch.cat([part.reshape(-1).view(torch.uint8) for _, part in ordered])

    def _pictures(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = {}
        if RELATIVE in self._work.topics:
            parts[RELATIVE] = values
        if COLOR in self._work.topics:
            nearness = values.reciprocal() if self._work.believed else values
            parts[COLOR] = colorize(nearness, self._palette, self._percentiles)
        return parts

    def _metres(self, values: torch.Tensor, numbers: torch.Tensor, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        work, parts, sigma, certain = self._work, {}, None, None
        least, numbers = numbers[0], numbers[1:]
        if work.believed:
            depth = mark_depth(self._unsaturated(values, values.reciprocal(), least), *work.limits)
        else:
            inverse = inverse_depth(values, numbers, self._basis)
            depth = mark_depth(self._unsaturated(depth_of_inverse(inverse, numbers), values, least), *work.limits)
            if work.needs_sigma:
                sigma = marked_sigma(sigma_of_inverse(inverse, numbers), depth)
            if POINTS in work.topics and work.certain > 0.0:
                certain = inverse_sigma_of_inverse(inverse, numbers) <= work.certain / work.limits[1]
        image = self._rectified(depth) if work.topics & {DEPTH, MILLIMETRES} else None
        if DEPTH in work.topics:
            parts[DEPTH] = image
        if MILLIMETRES in work.topics:
            parts[MILLIMETRES] = depth_to_millimetres(image)
        if SIGMA in work.topics:
            parts[SIGMA] = self._rectified(sigma)
        if POINTS in work.topics:
            parts |= self._points(depth, sigma, certain, pixels)
        return parts

    def _unsaturated(self, depth: torch.Tensor, disparity: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
        return depth.masked_fill(disparity <= least, inf) if self._work.saturates else depth

    def _rectified(self, values: torch.Tensor) -> torch.Tensor:
        return values if self._sources is None else rectified(values, self._sources, self._scale)

    def _points(
        self, depth: torch.Tensor, sigma: torch.Tensor | None, certain: torch.Tensor | None, pixels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """sigma: of depth; certain: where the way is so if it is free; both with points.max_relative_sigma alone."""
        work, every = self._work, (slice(None, None, self._work.stride),) * 2
        depth = depth[every]
        in_view = torch.isfinite(self._rays[..., 2])
        free, near = torch.isposinf(depth) & in_view, torch.isneginf(depth) & in_view
        if work.certain > 0.0:
            free &= certain[every]
            depth = depth.masked_fill(~(sigma[every] <= work.certain * depth), torch.nan)
        colors = None
        if work.color:
            # At network size the colours follow the depth.
            colors = (pixels if work.image_size == work.size else resized(pixels, work.size))[every]
        points = backproject(depth, self._rays)
        seen = ~torch.isnan(points[..., 2])
        is_free = (free.sum() >= self._least_free) & (near.sum() <= self._most_near)
        known = (is_free | seen.any()).int().reshape(1)
        packed = pack_points(points, colors)
        if work.organized:
            return {POINTS: packed, _KNOWN: known}
        kept, count = compacted(packed.flatten(0, 1), seen.flatten())
        return {POINTS: kept, _KNOWN: known, _COUNT: count}


def _points_fill(parts: dict[str, np.ndarray], voxel_m: float) -> Fill:
    packed = parts[POINTS].view(np.float32)
    if _COUNT not in parts:
        return partial(fill_packed_points, packed=packed)
    packed = packed[: int(parts[_COUNT][0])]
    if not voxel_m > 0.0:
        return partial(fill_packed_points, packed=packed)
    # Here, where the points are few already: how many voxels there are is not known before they are counted.
    colors = unpack_colors(packed) if packed.shape[1] > 3 else None
    points, colors = voxel_centroids(packed[:, :3], colors, voxel_m)
    return partial(fill_point_cloud, points=points, colors=colors)
