"""Sparse metres for a frame, from the depth images and point clouds that were recorded beside it.

They are read and projected by the node's own alignment sources, so that evaluation measures what the robot would.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from depth_anything_ros.alignment.hook import SCALE_REFERENCE, EvidenceError, View
from depth_anything_ros.alignment.sources.depth import DepthSource
from depth_anything_ros.alignment.sources.points import PointsSource
from depth_anything_ros.alignment.sources.projection import thinned
from depth_anything_ros.geometry.transforms import TransformError
from depth_anything_ros.messages import InvalidMessageError, stamp_ns
from training.ingest.settings import Settings
from training.ingest.topics import BagPlan

OTHER_TIME = (
    "no measurement with a stamp within max_time_difference_s of the image's was logged near it: compare their stamps, "
    'which may be of two clocks, and their times in the log'
)
_UNUSABLE = (EvidenceError, TransformError, InvalidMessageError)


class _Evidence(NamedTuple):
    stamp_ns: int
    log_ns: int
    message: Any


class MetricDepth:
    """The measurements of the last moments, and what they say of a frame.

    problems: how often a topic gave nothing for a frame, by reason.
    """

    def __init__(self, plan: BagPlan, settings: Settings, keep_ns: int) -> None:
        """keep_ns: how far back, in log time, measurements are kept."""
        samples = max(settings.max_points, 3)
        depth = DepthSource(max_samples=samples, any_frame=settings.any_frame)
        points = PointsSource(max_samples=samples)
        self._sources: Mapping[str, Any] = {
            **dict.fromkeys(plan.depth, depth),
            **dict.fromkeys(plan.clouds, points),
        }
        self._recent: dict[str, deque[_Evidence]] = {topic: deque() for topic in self._sources}
        self._most = settings.max_points
        self._window_ns = settings.max_time_difference_s * 1e9
        self._keep_ns = keep_ns
        self.problems: Counter[str] = Counter()

    @property
    def topics(self) -> set[str]:
        """The topics that `add` takes."""
        return set(self._sources) if self._most else set()

    def add(self, topic: str, log_ns: int, message: Any) -> None:
        """Keep a measurement until no frame can need it any more."""
        recent = self._recent[topic]
        recent.append(_Evidence(stamp_ns(message) or log_ns, log_ns, message))
        while recent[0].log_ns < log_ns - self._keep_ns:
            recent.popleft()

    def of(self, view: View) -> np.ndarray | None:
        """What was measured at a view's time: (N, 3) column, row in its pixels and metres; None if nothing was."""
        found = [self._measure(topic, view) for topic in sorted(self.topics)]
        points = np.concatenate([part for part in found if part is not None] or [np.empty((0, 3))])
        return points[thinned(len(points), self._most)] if len(points) else None

    def _measure(self, topic: str, view: View) -> np.ndarray | None:
        recent = self._recent[topic]
        nearest = min(recent, key=lambda item: abs(item.stamp_ns - view.stamp_ns), default=None)
        if nearest is None or abs(nearest.stamp_ns - view.stamp_ns) > self._window_ns:
            self.problems[f'{topic}: {OTHER_TIME}'] += 1
            return None
        source = self._sources[topic]
        try:
            samples = source.measure(source.read(SCALE_REFERENCE, nearest.message), view)
        except _UNUSABLE as error:
            self.problems[f'{topic}: {error}'[:300]] += 1
            return None
        return np.column_stack([samples.pixels, samples.depth_m])
