"""TF, as the alignment asks for it."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from depth_anything_ros.geometry.transforms import TransformError, check_named, rigid_matrix

# A transform of the frame's own moment is often published a little after the frame.
_PATIENCE = Duration(seconds=0.05)
# As tf2 has it: simulated time that begins anew, or takes the place of the system's.
_RESTART = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
_REMEDY = (
    'publish it on /tf or /tf_static (robot_state_publisher, tf2_ros static_transform_publisher), or set '
    'alignment.extrinsics'
)


class TfTransforms:
    """Poses from /tf and /tf_static, where tf2_ros is installed; it is listened to from the first lookup on.

    fixed_frame: may be set to one that does not move in the world; empty: frames are taken as they are at the earlier
    of the two times.

    lookup may be called from another thread than the node's executor: tf2's buffer has a lock of its own.
    """

    def __init__(self, node: Node) -> None:
        self.fixed_frame = ''
        self._node = node
        self._lock = Lock()
        self._buffer: Any = None
        self._listener: Any = None
        self._jumps: Any = None

    def lookup(self, target_frame: str, target_ns: int, source_frame: str, source_ns: int) -> np.ndarray:
        """Return the (4, 4) matrix that takes points from one frame to another, see geometry's Transforms.

        Waits a few hundredths of a second for a transform that is not there yet. Raises TransformError.
        """
        # ROS 1 drivers wrote a slash that tf2 refuses.
        target_frame, source_frame = target_frame.lstrip('/'), source_frame.lstrip('/')
        fixed_frame = self.fixed_frame.lstrip('/')
        moving = bool(fixed_frame) and target_ns != source_ns
        check_named(target_frame, source_frame)
        if target_frame == source_frame and not moving:
            return np.eye(4)
        if min(target_ns, source_ns) < 0:
            raise TransformError(f'TF knows no time before 1970, and the stamp is {min(target_ns, source_ns)} ns')
        tf2_ros = _tf2_ros(target_frame, source_frame)
        buffer = self._listen(tf2_ros)
        if moving:
            times = target_ns, source_ns
            query = (target_frame, Time(nanoseconds=target_ns), source_frame, Time(nanoseconds=source_ns))
            look_up, query = buffer.lookup_transform_full, (*query, fixed_frame)
        else:
            times = (min(target_ns, source_ns),)
            look_up, query = buffer.lookup_transform, (target_frame, source_frame, Time(nanoseconds=times[0]))
        try:
            try:
                stamped = look_up(*query)
            except tf2_ros.ExtrapolationException:
                stamped = look_up(*query, _PATIENCE)
        except tf2_ros.TransformException as error:
            through = f" through '{fixed_frame}'" if moving else ''
            when = ' and '.join(f'{time_ns / 1e9:.3f}' for time_ns in times)
            raise TransformError(
                f"no transform from '{source_frame}' to '{target_frame}'{through} at {when} s: {error}; {_REMEDY}"
            ) from error
        return _matrix(stamped.transform, target_frame, source_frame)

    def restart(self) -> None:
        """Forget where things were, for time begins anew: tf2 refuses poses of long before those that it has."""
        with self._lock:
            if self._buffer is not None:
                self._buffer.clear()

    def close(self) -> None:
        """Forget what was heard, and listen no longer, until the next lookup."""
        with self._lock:
            if self._listener is not None:
                self._listener.unregister()
                self._jumps.unregister()
                self._buffer = self._listener = self._jumps = None

    def _listen(self, tf2_ros: Any) -> Any:
        with self._lock:
            if self._listener is None:
                # Without the node, with which only some versions of tf2 clear it when time jumps back, and one fails.
                buffer = tf2_ros.Buffer()
                listener = tf2_ros.TransformListener(buffer, self._node, spin_thread=False)
                clock = self._node.get_clock()
                self._jumps = clock.create_jump_callback(_RESTART, post_callback=lambda _: buffer.clear())
                self._buffer, self._listener = buffer, listener
            return self._buffer


def _tf2_ros(target_frame: str, source_frame: str) -> Any:
    try:
        import tf2_ros  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TransformError(
            f"where '{source_frame}' is in '{target_frame}' is for TF to say, and tf2_ros is not installed ({error}): "
            'install ros-$ROS_DISTRO-tf2-ros-py, or set alignment.extrinsics'
        ) from error
    return tf2_ros


def _matrix(transform: Any, target_frame: str, source_frame: str) -> np.ndarray:
    t, q = transform.translation, transform.rotation
    try:
        return rigid_matrix((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
    except ValueError as error:
        raise TransformError(f"the transform from '{source_frame}' to '{target_frame}' is none: {error}") from error
