"""Rigid transforms between coordinate frames, and where they come from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

# A tree may hold hundreds of frames; an error names so many.
_NAMED_FRAMES = 20


class TransformError(LookupError):
    """No transform between two frames at these times; the message says which is missing and what to do."""


class Transforms(Protocol):
    """Where poses of frames are known: TF on a robot, the TF topics of a bag, or one calibrated pose."""

    def lookup(self, target_frame: str, target_ns: int, source_frame: str, source_ns: int) -> np.ndarray:
        """Return the (4, 4) float64 matrix that takes points from one frame to another, metres.

        source_frame as it was at source_ns, target_frame as it was at target_ns. Raises TransformError.
        """


class NoTransforms:
    """Nothing is known but that a frame is itself."""

    def lookup(self, target_frame: str, target_ns: int, source_frame: str, source_ns: int) -> np.ndarray:
        """The identity, for one and the same frame; raises TransformError for any other."""
        check_named(target_frame, source_frame)
        if target_frame == source_frame:
            return np.eye(4)
        raise TransformError(f"nothing says where '{source_frame}' is in '{target_frame}': set alignment.extrinsics")


class FixedTransforms:
    """One pose for all: the evidence's frame, whatever it is called, in the camera's optical frame."""

    def __init__(self, pose: Sequence[float]) -> None:
        """pose: x, y, z in metres and the quaternion x, y, z, w. Raises ValueError."""
        self._matrix = rigid_matrix(pose[:3], pose[3:])

    def lookup(self, target_frame: str, target_ns: int, source_frame: str, source_ns: int) -> np.ndarray:
        """The pose; frames and times are not looked at."""
        return self._matrix


class TransformTree:
    """TF without tf2: the frames of a bag or of a test, each below its one parent. Not for several threads.

    Between two times a lookup goes through fixed_frame, such as 'odom', so that what the robot moved in between
    counts. Without one, the nearest common ancestor of the two frames is taken to stand still: joints that moved
    count, the robot's own motion does not. A leading '/' (ROS 1) is no part of a name.
    """

    # Own code: PyPI has no tf2, and SciPy or pytransform3d is much for a robot to install for a hundred lines.

    def __init__(self, fixed_frame: str = '', keep_s: float | None = 10.0) -> None:
        """keep_s: how long a moving frame's poses are kept, back from its newest one; None keeps all of them.

        Raises ValueError unless it is positive.
        """
        if keep_s is not None and not keep_s > 0.0:
            raise ValueError(f'expected keep_s > 0, or None to keep all, got {keep_s}')
        self._fixed_frame = _plain(fixed_frame)
        self._keep_ns = None if keep_s is None else keep_s * 1e9
        self._links: dict[str, _Link] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int | None,
        translation: Sequence[float],
        quaternion: Sequence[float],
    ) -> None:
        """Say where `child` is in `parent`, as a TransformStamped does; stamp_ns None: always (tf_static).

        translation: metres. quaternion: x, y, z, w. Stamps may come in any order; of two for one time the later
        call counts, and a static pose replaces all others. Raises ValueError for a frame without a name and for
        what `rigid_matrix` refuses. A second parent is refused by the lookups that need the frame.
        """
        parent, child = _plain(parent), _plain(child)
        if not parent or not child:
            raise ValueError(f"a transform must name both its frames, got '{parent}' and '{child}'")
        matrix = rigid_matrix(translation, quaternion)
        self._links.setdefault(child, _Link(parent, child)).add(parent, stamp_ns, matrix, self._keep_ns)

    def lookup(self, target_frame: str, target_ns: int, source_frame: str, source_ns: int) -> np.ndarray:
        """The (4, 4) matrix from source_frame as it was at source_ns to target_frame as it was at target_ns.

        Between two known poses the translation is interpolated linearly, the rotation by slerp; nothing is
        extrapolated. Raises TransformError.
        """
        target, source = _plain(target_frame), _plain(source_frame)
        check_named(target, source)
        if not self._fixed_frame or target_ns == source_ns:
            return self._relative(target, target_ns, source, source_ns)
        target_in_fixed = self._relative(self._fixed_frame, target_ns, target, target_ns)
        source_in_fixed = self._relative(self._fixed_frame, source_ns, source, source_ns)
        return np.linalg.inv(target_in_fixed) @ source_in_fixed

    def _relative(self, target: str, target_ns: int, source: str, source_ns: int) -> np.ndarray:
        target_path, source_path = self._path(target), self._path(source)
        common = next((frame for frame in source_path if frame in target_path), None)
        if common is None:
            raise TransformError(self._unconnected(target_path, source_path))
        target_in_common = self._climb(target_path, common, target_ns)
        return np.linalg.inv(target_in_common) @ self._climb(source_path, common, source_ns)

    def _path(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        path = [frame]
        while path[-1] in self._links:
            parent = self._links[path[-1]].parent
            if parent in path:
                raise TransformError(f'the transforms form a loop: {" -> ".join([*path, parent])}; find who sends one')
            path.append(parent)
        return path

    def _climb(self, path: list[str], ancestor: str, time_ns: int) -> np.ndarray:
        matrix = np.eye(4)
        for frame in path[: path.index(ancestor)]:
            matrix = self._links[frame].at(time_ns) @ matrix
        return matrix

    def _unconnected(self, target_path: list[str], source_path: list[str]) -> str:
        known = sorted({*self._links, *(link.parent for link in self._links.values())})
        unknown = sorted({target_path[0], source_path[0]} - set(known))
        if unknown:
            names = ', '.join(known[:_NAMED_FRAMES]) + (', ...' if len(known) > _NAMED_FRAMES else '')
            return f'no transform names {" or ".join(map(repr, unknown))}; known frames are {names or "none"}'
        return (
            f"'{source_path[0]}' (below '{source_path[-1]}') and '{target_path[0]}' (below '{target_path[-1]}') are "
            'not connected; publish a transform between them, or set alignment.extrinsics'
        )


class _Link:
    """The poses of a frame in its parent, by time."""

    def __init__(self, parent: str, child: str) -> None:
        self.parent = parent
        self._child = child
        self._other_parent = ''
        self._static: np.ndarray | None = None
        self._stamps: list[int] = []
        self._poses: list[np.ndarray] = []

    def add(self, parent: str, stamp_ns: int | None, pose: np.ndarray, keep_ns: float | None) -> None:
        if parent != self.parent:
            self._other_parent = parent
        elif stamp_ns is None:
            self._static = pose
        else:
            self._insert(stamp_ns, pose)
            self._forget(keep_ns)

    def at(self, time_ns: int) -> np.ndarray:
        if self._other_parent:
            raise TransformError(
                f"'{self._child}' has two parents, '{self.parent}' and '{self._other_parent}'; stop one of the "
                'publishers'
            )
        if self._static is not None:
            return self._static
        index = bisect_left(self._stamps, time_ns)
        if index < len(self._stamps) and self._stamps[index] == time_ns:
            return self._poses[index]
        if index in (0, len(self._stamps)):
            raise TransformError(
                f"'{self._child}' in '{self.parent}' is known from {self._stamps[0] / 1e9:.3f} s to "
                f'{self._stamps[-1] / 1e9:.3f} s, not at {time_ns / 1e9:.3f} s'
            )
        before, after = self._stamps[index - 1 : index + 1]
        return _interpolated(*self._poses[index - 1 : index + 1], (time_ns - before) / (after - before))

    def _insert(self, stamp_ns: int, pose: np.ndarray) -> None:
        index = bisect_left(self._stamps, stamp_ns)
        if self._stamps[index : index + 1] == [stamp_ns]:
            self._poses[index] = pose
        else:
            self._stamps.insert(index, stamp_ns)
            self._poses.insert(index, pose)

    def _forget(self, keep_ns: float | None) -> None:
        if keep_ns is not None:
            old = bisect_left(self._stamps, self._stamps[-1] - keep_ns)
            del self._stamps[:old], self._poses[:old]


def check_named(target_frame: str, source_frame: str) -> None:
    """Raise TransformError for an empty name: two of them need not be one frame."""
    for frame, whose in ((target_frame, 'the image'), (source_frame, 'the evidence')):
        if not frame:
            raise TransformError(
                f'the frame_id of {whose} is empty: let its driver set it, or set alignment.extrinsics'
            )


def _plain(frame: str) -> str:
    return frame.lstrip('/')


def _interpolated(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """Linear in translation; slerp in rotation: the same axis, a share of the angle."""
    pose = before + share * (after - before)
    rotation_vector, _ = cv2.Rodrigues(before[:3, :3].T @ after[:3, :3])
    pose[:3, :3] = before[:3, :3] @ cv2.Rodrigues(share * rotation_vector)[0]
    return pose


def rigid_matrix(translation: Sequence[float], quaternion: Sequence[float]) -> np.ndarray:
    """The (4, 4) matrix of a translation in metres and a rotation as quaternion x, y, z, w.

    The quaternion is normalised. Raises ValueError if it is zero, or if a number is not finite.
    """
    t, q = np.asarray(translation, np.float64), np.asarray(quaternion, np.float64)
    if t.shape != (3,) or q.shape != (4,) or not np.isfinite(t).all() or not np.isfinite(q).all() or not q.any():
        raise ValueError(
            f'expected a translation x, y, z and a quaternion x, y, z, w that is not zero, got {list(t)} and {list(q)}'
        )
    x, y, z, w = q / np.linalg.norm(q)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = t
    return matrix


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) in metres through a (4, 4) matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
