"""Messages without ROS: alignment knows them by their fields."""

from types import SimpleNamespace

import numpy as np
import pytest


def header(stamp_ns=0, frame_id='camera_optical_frame'):
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


@pytest.fixture(scope='session')
def make_header():
    return header


@pytest.fixture(scope='session')
def depth_message():
    """Make a sensor_msgs/Image of depth in metres."""

    def make(depth, stamp_ns=0, frame_id='camera_optical_frame'):
        depth = np.ascontiguousarray(depth, np.float32)
        return SimpleNamespace(
            header=header(stamp_ns, frame_id),
            height=depth.shape[0],
            width=depth.shape[1],
            encoding='32FC1',
            is_bigendian=0,
            step=depth.strides[0],
            data=np.frombuffer(depth.tobytes(), np.uint8),
        )

    return make
