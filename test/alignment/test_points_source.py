"""Clouds to samples: a scene whose surfaces are known, seen by a sensor beside the camera."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.alignment import EvidenceError, View, make_source
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.distortion import EquidistantDistortion
from depth_anything_ros.geometry.transforms import FixedTransforms, TransformError, TransformTree, rigid_matrix
from depth_anything_ros.messages import PointCloudError, fill_point_cloud

HEIGHT, WIDTH = 240, 320
CAMERA = CameraModel(WIDTH, HEIGHT, 250.0, 250.0, 159.5, 119.5)
TOPIC = 'scale_reference'
ABOVE = (0.0, -0.4, -0.2, 0.0, 0.0, 0.0, 1.0)  # the sensor 0.4 m above and 0.2 m behind, axes as the camera's
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def cloud(points, header):
    message = SimpleNamespace(data=array('B'), header=header)
    fill_point_cloud(message, np.asarray(points, np.float32), point_field_type=SimpleNamespace)
    return message


def view(pose=IDENTITY, camera=CAMERA, **changes):
    fields = {
        'values': np.zeros((camera.height, camera.width), np.float32),
        'camera': camera,
        'transforms': FixedTransforms(pose),
        'frame_id': 'camera',
    }
    return View(**(fields | changes))


@pytest.fixture
def measure(make_header):
    def run(points, seen_by, frame_id='lidar', stamp_ns=0, **parameters):
        source = make_source('points', parameters)
        return source.measure(source.read(TOPIC, cloud(points, make_header(stamp_ns, frame_id))), seen_by)

    return run


def sensor_rays(pose, across=0.3, along=0.5):
    """A spinning LiDAR: (origin, unit directions (N, 3)) in the camera's frame, rings and beams this far apart, deg."""
    azimuth, elevation = np.radians(np.meshgrid(np.arange(-40, 40, across), np.arange(-30, 30, along)))
    rays = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], -1)
    matrix = rigid_matrix(pose[:3], pose[3:])
    return matrix[:3, 3], rays.reshape(-1, 3) @ matrix[:3, :3].T


def cast(origin, rays, surfaces):
    """Distance (N,) to the nearest surface and its index. A surface: (normal, offset, what of it is there)."""
    best, hit = np.full(len(rays), np.inf), np.full(len(rays), -1)
    for index, (normal, offset, is_there) in enumerate(surfaces):
        with np.errstate(divide='ignore'):
            distance = (offset - origin @ normal) / (rays @ np.asarray(normal))
        nearer = (distance > 0) & (distance < best)
        nearer[nearer] = is_there(origin + distance[nearer, None] * rays[nearer])
        best[nearer], hit[nearer] = distance[nearer], index
    return best, hit


EVERYWHERE = lambda p: np.ones(len(p), bool)  # noqa: E731
GROUND = ((0.0, 1.0, 0.0), 1.2, lambda p: p[:, 2] < 60)
WALL = ((0.0, 0.0, 1.0), 12.0, EVERYWHERE)
BOX = ((0.0, 0.0, 1.0), 4.0, lambda p: (np.abs(p[:, 0]) < 0.8) & (p[:, 1] > -0.5))
POLE = ((0.0, 0.0, 1.0), 5.0, lambda p: np.abs(p[:, 0] - 1.5) < 0.06)


def scene(pose, surfaces):
    """Points (N, 3) that the sensor sees, in the camera's frame; of each its surface and whether the camera sees it."""
    origin, rays = sensor_rays(pose)
    distance, hit = cast(origin, rays, surfaces)
    points, hit = origin + distance[hit >= 0, None] * rays[hit >= 0], hit[hit >= 0]
    in_image = (points[:, 2] > 0) & (np.abs(CAMERA.project(points) - (159.5, 119.5)) < (160, 120)).all(axis=1)
    points, hit = points[in_image], hit[in_image]
    length = np.linalg.norm(points, axis=1)
    blocked, _ = cast(np.zeros(3), points / length[:, None], surfaces)
    return points, hit, blocked > length - 0.01


def in_sensor(points, pose):
    return points - pose[:3]


def kept(samples, points):
    """Which of the points (N, 3), in the camera's frame, are among the samples."""
    found = {tuple(row) for row in np.round(np.column_stack([samples.pixels, samples.depth_m]), 2)}
    wanted = np.round(np.column_stack([CAMERA.project(points), points[:, 2]]), 2)
    return np.array([tuple(row) in found for row in wanted])


def test_points_are_where_the_camera_sees_them(measure):
    points = np.array([[0.3, -0.2, 2.0], [-1.0, 0.5, 4.0], [0.0, 0.0, 9.0]])
    samples = measure(in_sensor(points, ABOVE), view(ABOVE))
    np.testing.assert_allclose(samples.pixels, CAMERA.project(points), atol=1e-4)
    np.testing.assert_allclose(samples.depth_m, [2.0, 4.0, 9.0], rtol=1e-6)


def test_the_lens_bends_them(measure):
    lens = CameraModel(WIDTH, HEIGHT, 120.0, 120.0, 159.5, 119.5, EquidistantDistortion((0.0, 0.0, 0.0, 0.0)))
    samples = measure([[2.0, 0.0, 2.0]], view(camera=lens))
    np.testing.assert_allclose(samples.pixels, [[159.5 + 120 * np.pi / 4, 119.5]], atol=1e-4)


def test_depth_is_along_the_axis_and_not_the_distance(measure):
    assert measure([[1.0, 0.0, 2.0]], view()).depth_m[0] == 2.0


def test_only_what_is_in_front_and_inside_is_used(measure):
    border = [[-159.9, 0, 250], [160.1, 0, 250], [0, -119.9, 250], [0, 120.1, 250], [-160.1, 0, 250], [159.9, 0, 250]]
    points = [[0, 0, 3], [0, 0, -3], [0.1, 0, 0.0], [30, 0, 3], *border]
    samples = measure(points, view())
    assert sorted(samples.depth_m) == [3, 250, 250, 250]
    assert ((samples.pixels >= -0.5) & (samples.pixels < (WIDTH - 0.5, HEIGHT - 0.5))).all()


def test_a_prediction_of_another_size_has_its_own_pixels(measure):
    half = measure([[0.4, 0.2, 2.0]], view(values=np.zeros((HEIGHT // 2, WIDTH // 2), np.float32)))
    np.testing.assert_allclose(half.pixels, CAMERA.project(np.array([[0.4, 0.2, 2.0]])) / 2, atol=1e-4)


def test_what_was_not_measured_is_left_out(measure, recwarn):
    nothing = [[np.nan, 0, 3], [0, np.inf, 3], [0, 0, -np.inf], [0, 0, 0], [3e38, 3e38, 3e38], [0, 0, 1e-30]]
    samples = measure([*nothing, [0, 0, 3]], view())
    np.testing.assert_array_equal(samples.depth_m, [3.0])
    assert not recwarn.list


def test_the_points_behind_a_box_go_and_all_that_is_seen_stays(measure):
    """A sensor above looks over a box, at wall and ground that the box hides from the camera."""
    pose = (0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    points, surface, seen = scene(pose, [BOX, WALL, GROUND])
    assert (~seen).sum() > 200
    found = kept(measure(in_sensor(points, pose), view(pose), max_samples=10**6), points)
    assert found[~seen].mean() < 0.25
    assert found[seen].mean() > 0.97
    assert found[surface == 0].mean() > 0.99
    without = kept(measure(in_sensor(points, pose), view(pose), max_samples=10**6, occlusion=0.0), points)
    assert without.mean() > 0.99


def test_far_ground_at_a_grazing_angle_stays(measure):
    points, _, _ = scene(ABOVE, [GROUND])
    assert points[:, 2].max() > 50
    found = kept(measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=10**6), points)
    assert found.mean() > 0.99
    assert found[points[:, 2] > 25].mean() > 0.95


@pytest.mark.parametrize('angle', [0, 30, 60, 80, -80])
def test_no_slanted_wall_hides_itself(measure, angle):
    normal = np.array([np.sin(np.radians(angle)), 0.0, np.cos(np.radians(angle))])
    points, _, _ = scene(ABOVE, [(normal, 3.0, lambda p: p[:, 2] < 100)])
    found = kept(measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=10**6), points)
    assert len(points) > 1000
    assert found.mean() > 0.99


def test_a_thin_pole_stays_and_hides_little_of_the_wall_beside_it(measure):
    points, surface, seen = scene(ABOVE, [POLE, WALL])
    found = kept(measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=10**6), points)
    assert found[surface == 0].mean() > 0.99
    beside = (surface == 1) & seen & (np.abs(points[:, 0] - 3.6) < 1.0)
    assert beside.sum() > 100
    assert found[beside].mean() > 0.7
    assert found[(surface == 1) & seen].mean() > 0.95


def test_the_threshold_says_how_far_behind_is_hidden(measure):
    """Ten metres, through a grid at nine: 10 % of the inverse depth apart."""
    x, y = np.meshgrid(np.arange(-3, 3, 0.1), np.arange(-2, 2, 0.1))
    fence = np.stack([x, y, np.full_like(x, 9.0)], -1).reshape(-1, 3)
    points = np.concatenate([fence, fence[::9] * (10 / 9)])
    behind = [np.sum(measure(points, view(), occlusion=t).depth_m > 9.5) for t in (0.0, 0.05, 0.15)]
    assert behind[0] == behind[2] == len(fence[::9])
    assert behind[1] < 0.1 * behind[0]


def test_the_result_does_not_depend_on_the_order_or_the_scale_of_the_world(measure):
    points, _, _ = scene(ABOVE, [BOX, WALL, GROUND])
    one = measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=10**6)
    shuffled = np.random.default_rng(0).permutation(points)
    two = measure(in_sensor(shuffled, ABOVE), view(ABOVE), max_samples=10**6)
    np.testing.assert_array_equal(np.sort(one.depth_m), np.sort(two.depth_m))
    small = (0.0, -0.04, -0.02, *ABOVE[3:])
    three = measure(in_sensor(points, ABOVE) / 10, view(small), max_samples=10**6)
    assert len(three.depth_m) == pytest.approx(len(one.depth_m), rel=0.002)


def test_landmarks_far_apart_do_not_hide_each_other(measure):
    rng = np.random.default_rng(0)
    rays = np.column_stack([rng.uniform(-0.6, 0.6, 150), rng.uniform(-0.45, 0.45, 150), np.ones(150)])
    landmarks = rays * rng.uniform(2, 20, (150, 1))
    assert len(measure(landmarks, view()).depth_m) > 0.95 * 150


def test_the_result_is_thinned_evenly(measure):
    points, _, _ = scene(ABOVE, [WALL, GROUND])
    full = measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=10**6)
    thin = measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=500)
    assert len(thin.depth_m) == 500
    assert {*map(tuple, thin.pixels)} <= {*map(tuple, full.pixels)}
    share = [
        np.histogram2d(*s.pixels.T, bins=4, range=[[0, WIDTH], [0, HEIGHT]], density=True)[0] for s in (full, thin)
    ]
    np.testing.assert_allclose(share[0], share[1], atol=0.2 * share[0].max())
    again = measure(in_sensor(points, ABOVE), view(ABOVE), max_samples=500)
    np.testing.assert_array_equal(thin.pixels, again.pixels)


def test_a_map_of_millions_is_thinned_before_it_is_kept(make_header):
    source = make_source('points')
    points = np.random.default_rng(0).normal(size=(2_000_001, 3)).astype(np.float32)
    assert len(source.read(TOPIC, cloud(points, make_header())).points) == 1_000_000


def test_it_asks_for_the_frames_at_their_own_times(measure):
    tree = TransformTree('odom')
    for second in range(4):
        tree.add('odom', 'base', second * 10**9, (0.0, 0.0, 1.0 * second), IDENTITY[3:])
    for frame in ('lidar', 'camera'):
        tree.add('base', frame, None, (0.0, 0.0, 0.0), IDENTITY[3:])
    seen = view(transforms=tree, stamp_ns=2_500_000_000)
    assert measure([[0, 0, 7]], seen, stamp_ns=500_000_000).depth_m[0] == pytest.approx(5.0)
    with pytest.raises(TransformError, match=r'not at 3\.500 s'):
        measure([[0, 0, 7]], seen, stamp_ns=3_500_000_000)
    with pytest.raises(TransformError, match="'radar'"):
        measure([[0, 0, 7]], seen, frame_id='radar')


def test_if_nothing_falls_into_the_image_it_says_where_the_points_are(measure):
    points = [[0, 0, -5]] * 30 + [[50, 0, 5]] * 12
    text = (
        r"none of the 42 points of 'lidar' falls into the image: 30 are behind the camera, 12 beside.*to 'camera' is wr"
    )
    with pytest.raises(EvidenceError, match=text):
        measure(points, view())


@pytest.mark.parametrize('points', [np.empty((0, 3)), [[np.nan] * 3] * 5, [[0, 0, 0]] * 5])
def test_an_empty_cloud_is_refused_when_it_is_read(measure, points):
    with pytest.raises(EvidenceError, match=rf"none of the {len(points)} points of 'lidar' is a measurement"):
        measure(points, view())


def test_no_camera_no_metres_and_no_fields_no_points(measure, make_header):
    with pytest.raises(EvidenceError, match='CameraInfo'):
        measure([[0, 0, 3]], View(np.zeros((4, 4), np.float32)))
    message = cloud([[0, 0, 3]], make_header())
    message.fields = message.fields[:2]
    with pytest.raises(PointCloudError, match='not z'):
        make_source('points').read(TOPIC, message)


def test_it_subscribes_to_a_cloud():
    assert make_source('points').topics == {TOPIC: 'sensor_msgs/msg/PointCloud2'}
