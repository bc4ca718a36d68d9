from array import array
from math import inf, nan, pi
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.messages import PointCloudError, scan_to_points


def scan(ranges, first=-pi / 2, increment=pi / 4, **changes):
    fields = {
        'angle_min': first,
        'angle_max': first + (len(ranges) - 1) * increment,
        'angle_increment': increment,
        'range_min': 0.25,
        'range_max': 16.0,
        'ranges': array('f', ranges),
        'intensities': array('f'),
    }
    return SimpleNamespace(**(fields | changes))


def test_angles_are_counter_clockwise_from_x():
    r = 2**0.5
    found = scan_to_points(scan([1, r, 2, r, 3]))
    np.testing.assert_allclose(found, [[0, -1, 0], [1, -1, 0], [2, 0, 0], [1, 1, 0], [0, 3, 0]], atol=1e-6)


def test_a_scan_may_turn_clockwise():
    forth, back = scan([1, 2, 3, 4, 5]), scan([5, 4, 3, 2, 1], pi / 2, -pi / 4)
    np.testing.assert_allclose(scan_to_points(back), scan_to_points(forth)[::-1], atol=1e-12)


def test_what_was_not_measured_is_left_out():
    ranges = [nan, inf, -inf, 0.0, 0.24, 0.25, 1.0, 15.9, 16.0, 16.1, -3.0]
    found = scan_to_points(scan(ranges, increment=0.1))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [0.25, 1.0, 15.9], rtol=1e-6)
    angles = -pi / 2 + 0.1 * np.array([5, 6, 7])
    np.testing.assert_allclose(np.arctan2(found[:, 1], found[:, 0]), angles, atol=1e-12)
    assert scan_to_points(scan([0.0], range_min=0.0)).shape == (0, 3)


@pytest.mark.parametrize('intensities', [[1.0], [nan] * 5, list(range(500))])
def test_intensities_do_not_matter(intensities):
    message = scan([1, 2, 3, 4, 5], intensities=array('f', intensities))
    np.testing.assert_array_equal(scan_to_points(message), scan_to_points(scan([1, 2, 3, 4, 5])))


@pytest.mark.parametrize('beams', [1440, 1441, 1442])
def test_the_last_beam_of_a_full_turn_may_be_counted_or_not(beams):
    message = scan([1.0] * beams, float(np.float32(-pi)), float(np.float32(2 * pi / 1440)), angle_max=pi)
    assert len(scan_to_points(message)) == beams


def test_messages_of_rclpy_and_rosbags_will_do():
    ranges = np.array([1, 2, 3, 4, 5], np.float32)
    expected = scan_to_points(scan(ranges))
    of_rosbags = scan(ranges)
    of_rosbags.ranges = ranges
    np.testing.assert_array_equal(scan_to_points(of_rosbags), expected)
    messages = pytest.importorskip('sensor_msgs.msg', reason='sensor_msgs is not installed')
    np.testing.assert_allclose(scan_to_points(messages.LaserScan(**vars(scan(ranges)))), expected, atol=1e-6)


@pytest.mark.parametrize('ranges', [[], [3.0]])
def test_so_few_beams_need_no_increment(ranges):
    assert len(scan_to_points(scan(ranges, increment=0.0, angle_max=0.0))) == len(ranges)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'angle_max': 3.0}, 'angle_max = 3, .*: 7 beams, but there are 5 ranges'),
        ({'angle_max': -3.0}, 'beams, but there are 5 ranges'),
        ({'angle_increment': -pi / 4}, 'beams, but there are 5 ranges'),
        ({'angle_increment': 0.0}, 'would all be one beam'),
        ({'angle_increment': nan}, 'angle_increment = nan, expected finite'),
        ({'angle_min': -inf}, 'angle_min = -inf'),
        ({'range_min': -1.0}, 'range_min = -1 and range_max = 16, expected'),
        ({'range_max': 0.0}, 'range_min = 0.25 and range_max = 0, expected'),
        ({'range_max': nan}, 'range_max = nan'),
    ],
)
def test_contradicting_fields_are_named(changes, text):
    with pytest.raises(PointCloudError, match=text):
        scan_to_points(scan([1, 2, 3, 4, 5], **changes))
