"""Transforms against motions whose poses are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depth_anything_ros.geometry.transforms import (
    FixedTransforms,
    NoTransforms,
    TransformError,
    TransformTree,
    rigid_matrix,
    transform_points,
)

SECOND = 1_000_000_000
NO_TURN = (0.0, 0.0, 0.0, 1.0)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # x right, y down, z forward, in a frame with x forward and z up (REP 103)


def turn(angle, axis=(0.0, 0.0, 1.0)):
    """Quaternion x, y, z, w."""
    return (*(math.sin(angle / 2) * np.asarray(axis, float)), math.cos(angle / 2))


def driving_robot(fixed_frame='odom', keep_s=None):
    """A car on a circle of radius 10 m at 0.5 rad/s, a pose every 0.1 s for 20 s, with a LiDAR and a camera on it."""
    tree = TransformTree(fixed_frame, keep_s)
    for step in range(201):
        tree.add('odom', 'base_link', step * SECOND // 10, *circle(step / 10))
    tree.add('base_link', 'lidar', None, (0.0, 0.0, 2.0), NO_TURN)
    tree.add('base_link', 'camera', None, (1.0, 0.0, 1.5), OPTICAL)
    return tree


def circle(time_s):
    angle = 0.5 * time_s
    return (10 * math.sin(angle), 10 - 10 * math.cos(angle), 0.0), turn(angle)


def test_a_standing_point_is_found_where_the_moving_camera_sees_it():
    """The LiDAR saw a pole at 5.02 s, the camera looks at 5.47 s: the pole did not move, the car did."""
    pole_in_odom = np.array([[14.0, 20.0, 1.0]])
    lidar_in_odom = rigid_matrix(*circle(5.02)) @ rigid_matrix((0.0, 0.0, 2.0), NO_TURN)
    camera_in_odom = rigid_matrix(*circle(5.47)) @ rigid_matrix((1.0, 0.0, 1.5), OPTICAL)
    seen_by_lidar = transform_points(np.linalg.inv(lidar_in_odom), pole_in_odom)
    matrix = driving_robot().lookup('camera', int(5.47 * SECOND), 'lidar', int(5.02 * SECOND))
    expected = transform_points(np.linalg.inv(camera_in_odom), pole_in_odom)
    # 0.1 s of the arc is 0.5 m; its chord is at most 3 mm off it.
    np.testing.assert_allclose(transform_points(matrix, seen_by_lidar), expected, atol=0.006)
    unmoved = driving_robot('').lookup('camera', int(5.47 * SECOND), 'lidar', int(5.02 * SECOND))
    assert np.linalg.norm(transform_points(unmoved, seen_by_lidar) - expected) > 1.0


def test_at_one_time_the_fixed_frame_is_not_needed():
    tree = driving_robot('nowhere')
    np.testing.assert_allclose(
        transform_points(tree.lookup('camera', 123, 'lidar', 123), np.array([[11.0, -2.0, -0.5]])), [[2.0, 0.0, 10.0]]
    )


def test_without_a_fixed_frame_each_joint_is_taken_at_the_time_of_its_own_end():
    tree = TransformTree()
    for step in range(11):
        tree.add('base', 'mast', step * SECOND, (0.0, 0.0, 1.0), turn(0.1 * step))
        tree.add('base', 'arm', step * SECOND, (0.1 * step, 0.0, 0.0), NO_TURN)
    matrix = tree.lookup('mast', 8 * SECOND, 'arm', 3 * SECOND)
    expected = np.linalg.inv(rigid_matrix((0, 0, 1), turn(0.8))) @ rigid_matrix((0.3, 0, 0), NO_TURN)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


@pytest.mark.parametrize('share', [0.001, 0.25, 0.5, 0.999])
@pytest.mark.parametrize('angle', [1e-9, 0.3, 3.0, -2.5, math.pi - 1e-6])
def test_between_two_stamps_it_turns_evenly_and_moves_in_a_line(share, angle):
    axis = np.array([2.0, -1.0, 2.0]) / 3
    start = (0.2, 0.6, -0.3, 0.7)
    tree = TransformTree()
    tree.add('a', 'b', 1000, (1.0, 2.0, 3.0), start)
    end = rigid_matrix((0, 0, 0), start) @ rigid_matrix((0, 0, 0), turn(angle, axis))
    tree.add('a', 'b', 2000, (3.0, 2.0, -1.0), quaternion(end))
    found = tree.lookup('a', 1000 + round(1000 * share), 'b', 1000 + round(1000 * share))
    expected = rigid_matrix((1 + 2 * share, 2, 3 - 4 * share), start) @ rigid_matrix(
        (0, 0, 0), turn(share * angle, axis)
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)


def quaternion(matrix):
    """x, y, z, w, as the null vector of the linear equations R(q) = R; any sign."""
    m = matrix[:3, :3]
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [0.0, m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [0.0, 0.0, m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [0.0, 0.0, 0.0, m.trace()],
        ]
    )
    return np.linalg.eigh(k, UPLO='U')[1][:, -1]


def test_there_and_back_is_the_identity():
    tree = driving_robot()
    there, back = tree.lookup('camera', 7, 'odom', 3 * SECOND), tree.lookup('odom', 3 * SECOND, 'camera', 7)
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(tree.lookup('unheard_of', 7, 'unheard_of', 7), np.eye(4))


def test_a_leading_slash_is_the_same_frame():
    tree = TransformTree('/odom')
    tree.add('/odom', '/base', None, (1.0, 0.0, 0.0), NO_TURN)
    tree.add('base', 'camera', None, (0.0, 2.0, 0.0), NO_TURN)
    np.testing.assert_array_equal(tree.lookup('odom', 1, '/camera', 2)[:3, 3], [1.0, 2.0, 0.0])


def test_stamps_may_come_in_any_order_and_the_later_call_counts():
    tree = TransformTree()
    for stamp, x in ((30, 3.0), (10, 1.0), (20, 9.0), (20, 2.0)):
        tree.add('a', 'b', stamp, (x, 0.0, 0.0), NO_TURN)
    assert [tree.lookup('a', t, 'b', t)[0, 3] for t in (10, 15, 20, 25, 30)] == [1.0, 1.5, 2.0, 2.5, 3.0]


def test_nothing_is_extrapolated():
    tree = driving_robot()
    for time_ns in (-1, 20 * SECOND + 1):
        with pytest.raises(TransformError, match=r"'base_link' in 'odom' is known from 0\.000 s to 20\.000 s, not at"):
            tree.lookup('odom', time_ns, 'lidar', time_ns)


def test_old_poses_are_forgotten_and_static_ones_are_not():
    tree = driving_robot(keep_s=5.0)
    tree.lookup('odom', 15 * SECOND, 'lidar', 15 * SECOND)
    with pytest.raises(TransformError, match=r'known from 15\.000 s to 20\.000 s, not at 14\.900 s'):
        tree.lookup('odom', 149 * SECOND // 10, 'lidar', 149 * SECOND // 10)
    tree.add('odom', 'base_link', 3 * SECOND, *circle(3.0))  # long past: forgotten at once
    with pytest.raises(TransformError, match=r'known from 15\.000 s'):
        tree.lookup('odom', 3 * SECOND, 'lidar', 3 * SECOND)


def test_an_unknown_frame_is_named_with_those_that_are_known():
    with pytest.raises(TransformError, match="no transform names 'velodyne'; known frames are base_link, camera, lid"):
        driving_robot().lookup('camera', 0, 'velodyne', 0)
    with pytest.raises(TransformError, match='known frames are none'):
        TransformTree().lookup('camera', 0, 'velodyne', 0)


def test_two_trees_are_named_by_their_roots():
    tree = driving_robot()
    tree.add('imu_base', 'imu', None, (0, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match=r"'imu' \(below 'imu_base'\) and 'camera' \(below 'odom'\) are not conn"):
        tree.lookup('camera', 0, 'imu', 0)


def test_a_second_parent_is_refused_where_it_matters_only():
    tree = driving_robot()
    tree.add('map', 'base_link', 0, (5.0, 0.0, 0.0), NO_TURN)
    tree.lookup('camera', 0, 'lidar', 0)
    with pytest.raises(TransformError, match="'base_link' has two parents, 'odom' and 'map'"):
        tree.lookup('odom', 0, 'lidar', 0)


def test_a_loop_is_named():
    tree = TransformTree()
    for parent, child in (('a', 'b'), ('b', 'c'), ('c', 'a')):
        tree.add(parent, child, None, (0, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match='loop: a -> c -> b -> a'):
        tree.lookup('a', 0, 'c', 0)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (('', 'b', 0, (0, 0, 0), NO_TURN), "must name both its frames, got '' and 'b'"),
        (('a', '/', 0, (0, 0, 0), NO_TURN), "got 'a' and ''"),
        (('a', 'b', 0, (0, np.nan, 0), NO_TURN), 'expected a translation'),
        (('a', 'b', 0, (0, 0, 0), (0, 0, 0, 0)), 'not zero'),
    ],
)
def test_what_is_no_transform_is_refused(arguments, text):
    tree = TransformTree()
    with pytest.raises(ValueError, match=text):
        tree.add(*arguments)
    with pytest.raises(TransformError, match='none'):
        tree.lookup('a', 0, 'b', 0)


@pytest.mark.parametrize('keep_s', [0.0, -1.0, math.nan])
def test_what_is_no_time_to_keep_is_refused(keep_s):
    with pytest.raises(ValueError, match='keep_s > 0'):
        TransformTree(keep_s=keep_s)


def test_one_calibrated_pose_serves_all_frames_and_none_serves_only_its_own():
    pose = FixedTransforms((1.0, 2.0, 3.0, *NO_TURN))
    np.testing.assert_array_equal(pose.lookup('camera', 0, 'lidar', 9)[:3, 3], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(NoTransforms().lookup('camera', 0, 'camera', 9), np.eye(4))
    for nowhere in (NoTransforms(), TransformTree()):
        with pytest.raises(TransformError, match='empty'):
            nowhere.lookup('', 0, '', 0)
    with pytest.raises(TransformError, match=r"where 'lidar' is in 'camera': set alignment\.extrinsics"):
        NoTransforms().lookup('camera', 0, 'lidar', 0)
