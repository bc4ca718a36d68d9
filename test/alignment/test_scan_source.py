"""A planar scan to samples: a room whose walls are known."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.alignment import EvidenceError, View, make_source
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.transforms import FixedTransforms
from depth_anything_ros.messages import PointCloudError

CAMERA = CameraModel(320, 240, 250.0, 250.0, 159.5, 119.5)
TOPIC = 'scale_reference'
# The scan's x is the camera's z, its z up; the scanner is 0.3 m below and 0.1 m in front of the camera.
BELOW = (0.0, 0.3, 0.1, 0.5, -0.5, 0.5, 0.5)
WALL_M = 3.0


def scan(header, ranges, angles, **changes):
    fields = {
        'header': header,
        'angle_min': angles[0],
        'angle_max': angles[-1],
        'angle_increment': angles[1] - angles[0],
        'range_min': 0.05,
        'range_max': 20.0,
        'ranges': array('f', ranges),
        'intensities': array('f'),
    }
    return SimpleNamespace(**(fields | changes))


def wall(angles):
    """Ranges to a wall across x at WALL_M, and Inf where the beams miss it."""
    with np.errstate(divide='ignore'):
        return np.where(np.cos(angles) > 0.01, WALL_M / np.cos(angles), np.inf)


def view(pose=BELOW, **changes):
    fields = {'values': np.zeros((240, 320), np.float32), 'camera': CAMERA, 'transforms': FixedTransforms(pose)}
    return View(**(fields | changes))


@pytest.fixture
def measure(make_header):
    def run(ranges, angles, seen_by, **parameters):
        source = make_source('scan', parameters)
        return source.measure(source.read(TOPIC, scan(make_header(0, 'laser'), ranges, angles)), seen_by)

    return run


@pytest.mark.parametrize('direction', [1, -1])
def test_a_wall_is_a_line_in_the_image_at_one_depth(measure, direction):
    angles = direction * np.radians(np.arange(-180, 180, 0.5))
    samples = measure(wall(angles), angles, view())
    np.testing.assert_allclose(samples.depth_m, WALL_M + 0.1, rtol=1e-5)
    np.testing.assert_allclose(samples.pixels[:, 1], 119.5 + 250 * 0.3 / (WALL_M + 0.1), atol=1e-3)
    assert samples.pixels[:, 0].min() < 3
    assert samples.pixels[:, 0].max() > 316


def test_left_is_left(measure):
    """Counter-clockwise from above is to the left."""
    angles = np.radians(np.arange(5, 25, 0.5))
    assert (measure(wall(angles), angles, view()).pixels[:, 0] < 159.5 - 15).all()


def test_what_a_scanner_at_the_side_sees_behind_a_post_goes(measure):
    """A scanner 1 m to the left sees the wall that a post 1 m wide hides from the camera."""
    pose = (-1.0, 0.0, 0.0, *BELOW[3:])
    angles = np.radians(np.arange(-60, 60, 0.25))
    ranges, at_post = wall(angles), 1.5 / np.cos(angles)
    ranges = np.where(np.abs(1.5 * np.tan(angles) + 1.0) < 0.5, at_post, ranges)  # the post is at x = 1 m of the scan
    every = measure(ranges, angles, view(pose), occlusion=0.0)
    hidden = (every.depth_m > 2) & (np.abs(every.pixels[:, 0] - 159.5) < 250 * 0.5 / 1.5 - 1)
    assert hidden.sum() > 20
    kept = measure(ranges, angles, view(pose))
    assert np.sum((kept.depth_m > 2) & (np.abs(kept.pixels[:, 0] - 159.5) < 250 * 0.5 / 1.5 - 6)) == 0
    gone = len(every.depth_m) - len(kept.depth_m)
    assert gone < 1.2 * hidden.sum()
    assert np.sum(kept.depth_m < 2) == np.sum(every.depth_m < 2)


def test_the_result_is_thinned(measure):
    angles = np.radians(np.arange(-30, 30, 0.1))
    u = measure(wall(angles), angles, view(), max_samples=50).pixels[:, 0]
    assert len(u) == 50
    assert np.ptp(u) > 270
    assert np.abs(np.diff(u)).max() < 10


def test_a_scan_beside_the_image_is_refused(measure):
    angles = np.radians(np.arange(150, 210, 0.5))
    with pytest.raises(EvidenceError, match=r"none of the 120 points of 'laser' falls into the image: 120 are behind"):
        measure(np.full(120, 2.0), angles, view())


def test_a_scan_without_a_return_is_refused(measure):
    angles = np.radians(np.arange(-30, 30, 0.5))
    with pytest.raises(EvidenceError, match="none of the 0 points of 'laser' is a measurement"):
        measure(np.full(120, np.inf), angles, view())


def test_a_scan_that_contradicts_itself_is_refused(make_header):
    message = scan(make_header(), [1, 2, 3], [0.0, 0.1, 0.2], angle_increment=0.5)
    with pytest.raises(PointCloudError, match='3 ranges'):
        make_source('scan').read(TOPIC, message)


def test_it_subscribes_to_a_scan():
    assert make_source('scan').topics == {TOPIC: 'sensor_msgs/msg/LaserScan'}
