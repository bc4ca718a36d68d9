"""The floor as a source of metres, on rendered scenes whose depth is known, and on a real sequence."""

from math import asin, atan2, cos, pi, radians, sin
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from depth_anything_ros.alignment.aligner import Aligner
from depth_anything_ros.alignment.fit import fit_scale_shift
from depth_anything_ros.alignment.hook import EvidenceError, View
from depth_anything_ros.alignment.sources.ground import GroundSource
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.distortion import distortion_from_calibration
from depth_anything_ros.geometry.transforms import FixedTransforms, NoTransforms, TransformError, rigid_matrix

HEIGHT, WIDTH = 120, 160
CAMERA = CameraModel(WIDTH, HEIGHT, 120.0, 120.0, WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5)
# x forward, y left, z up, from x right, y down, z forward (REP 103).
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
HOLOLENS = Path(__file__).resolve().parents[2].parent / 'shared' / 'data' / 'hololens'


def about(axis, angle):
    """A rotation as quaternion x, y, z, w."""
    return (*(np.array(axis) * sin(angle / 2)), cos(angle / 2))


def level_from_body(pitch, roll):
    return (rigid_matrix((0, 0, 0), about((0, 1, 0), pitch)) @ rigid_matrix((0, 0, 0), about((1, 0, 0), roll)))[:3, :3]


def render(height_m, pitch=0.0, roll=0.0, boxes=(), floor=True, camera=CAMERA):
    """Depth (H, W) seen from above the origin, x being forward, and what is floor. Boxes: (lowest, highest) corners."""
    rays = camera.rays(HEIGHT, WIDTH).astype(np.float64) @ (level_from_body(pitch, roll) @ BODY_FROM_OPTICAL).T
    eye = np.array([0.0, 0.0, height_m])
    depth = np.full((HEIGHT, WIDTH), 100.0)
    with np.errstate(divide='ignore', invalid='ignore'):
        if floor:
            to_floor = -height_m / rays[..., 2]
            depth = np.where((to_floor > 0) & (to_floor < depth), to_floor, depth)
        is_floor = depth < 100.0
        for low, high in boxes:
            first, second = (low - eye) / rays, (high - eye) / rays
            enter, leave = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
            hit = (enter < leave) & (enter > 0) & (enter < depth)
            depth[hit] = enter[hit]
            is_floor &= ~hit
    return depth, is_floor


def box(x, y, z):
    """From its extents in x, y and z."""
    return tuple(np.array(corner, float) for corner in zip(x, y, z, strict=True))


WALL = box((6, 7), (-20, 20), (-1, 4))
ROOM = (WALL, box((-1, 9), (3, 4), (-1, 4)), box((-1, 9), (-4, -3), (-1, 4)), box((-1, 9), (-4, 4), (2.6, 3)))
FURNITURE = (
    box((2, 2.5), (-1, -0.3), (0, 0.6)),
    box((3, 4), (0.5, 1.5), (0, 1.0)),
    box((1.6, 2), (0.7, 1.0), (0, 0.3)),
)


def predict(depth, noise=0.0, bend=0.0, seed=0, scale=0.07, shift=-0.03):
    """Disparity as a network has it: an affine map, noise and a smooth error, both as fractions of inverse depth."""
    random = np.random.default_rng(seed)
    v, u = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    smooth = bend * (0.6 * u - 0.4 * v * u + 0.3 * v**2)
    inverse = (1.0 + smooth + noise * random.standard_normal(depth.shape)) / depth
    return ((inverse - shift) / scale).astype(np.float32)


def source_of(height_m, pitch=0.0, roll=0.0, **others):
    return GroundSource(height_m=height_m, gravity='parameters', pitch_rad=pitch, roll_rad=roll, **others)


def estimate(source, view):
    """The whole depth image after the fit to the floor."""
    samples = source.measure(None, view)
    disparity = view.disparity[samples.pixels[:, 1], samples.pixels[:, 0]]
    return fit_scale_shift(disparity, samples.depth_m, samples.weights).depth(view.disparity)


def median_error(estimated, depth):
    near = depth < 8.0
    return abs(float(np.median(estimated[near] / depth[near])) - 1.0)


@pytest.mark.parametrize(
    ('height_m', 'pitch', 'roll'),
    [(0.3, 0.0, 0.0), (0.8, 0.2, 0.1), (1.4, 0.5, -0.15), (1.8, 0.05, 0.0), (1.0, 0.9, 0.3)],
)
def test_a_room_gets_its_metres_from_the_floor(height_m, pitch, roll):
    depth, _ = render(height_m, pitch, roll, ROOM + FURNITURE)
    exact = View(predict(depth), camera=CAMERA)
    noisy = View(predict(depth, noise=0.03, bend=0.03), camera=CAMERA)
    assert median_error(estimate(source_of(height_m, pitch, roll), exact), depth) < 1e-4
    assert median_error(estimate(source_of(height_m, pitch, roll), noisy), depth) < 0.02


def test_with_five_percent_of_noise_most_samples_are_floor():
    depth, is_floor = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    samples = source_of(1.2, 0.25).measure(None, View(predict(depth, noise=0.05, bend=0.02), camera=CAMERA))
    columns, rows = samples.pixels.T
    on_floor = is_floor[rows, columns]
    assert on_floor.mean() > 0.75  # the others are feet of walls, within the noise
    np.testing.assert_allclose(samples.depth_m[on_floor], depth[rows, columns][on_floor], rtol=1e-4)
    assert np.all((samples.weights > 0.0) & (samples.weights <= 1.0))


def test_a_quarter_of_what_is_below_the_horizon_is_enough():
    left = box((1.0, 9), (0.4, 4), (0, 1.0))
    right = box((1.0, 9), (-4, -0.6), (0, 0.6))
    depth, is_floor = render(1.2, 0.2, 0.0, (*ROOM, left, right))
    assert 0.2 < is_floor[HEIGHT // 2 :].mean() < 0.3
    view = View(predict(depth, noise=0.02), camera=CAMERA)
    assert median_error(estimate(source_of(1.2, 0.2), view), depth) < 0.02


def test_the_affine_map_of_the_network_does_not_matter():
    depth, _ = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    first, second = (
        source_of(1.2, 0.25).measure(None, View(predict(depth, 0.02, scale=scale, shift=shift), camera=CAMERA))
        for scale, shift in ((0.07, -0.03), (3.0, 0.2))
    )
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-3)


def test_a_metric_model_that_is_wrong_by_a_factor_is_put_right():
    depth, _ = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    view = View((1.4 * depth).astype(np.float32), 'depth', camera=CAMERA)
    assert median_error(estimate(source_of(1.2, 0.25), view), depth) < 1e-3


def test_a_lens_with_distortion_sees_the_same_floor():
    distortion = distortion_from_calibration('plumb_bob', np.array([-0.25, 0.06, 0.001, -0.002, 0.0]))
    camera = CameraModel(WIDTH, HEIGHT, 100.0, 100.0, 79.5, 59.5, distortion)
    depth, _ = render(1.2, 0.3, 0.0, ROOM, camera=camera)
    assert median_error(estimate(source_of(1.2, 0.3), View(predict(depth), camera=camera)), depth) < 1e-4
    pinhole = CameraModel(WIDTH, HEIGHT, 100.0, 100.0, 79.5, 59.5)
    assert median_error(estimate(source_of(1.2, 0.3), View(predict(depth), camera=pinhole)), depth) > 1e-3


def test_pixels_without_a_value_are_left_out():
    depth, _ = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    disparity = predict(depth)
    disparity[:, : WIDTH // 3] = np.nan
    disparity[-10:] = np.inf
    samples = source_of(1.2, 0.25).measure(None, View(disparity, camera=CAMERA))
    assert samples.pixels[:, 0].min() >= WIDTH // 3
    assert samples.pixels[:, 1].max() < HEIGHT - 10


def test_the_same_frame_gives_the_same_samples():
    view = View(predict(render(1.2, 0.25, 0.0, ROOM)[0], 0.05), camera=CAMERA)
    first, second = (source_of(1.2, 0.25).measure(None, view) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)


def test_pitch_looks_down_and_roll_lowers_the_right_hand_side():
    def floor_depth(pitch, roll, u, v):
        depth, _ = render(1.0, pitch, roll)
        samples = source_of(1.0, pitch, roll).measure(None, View(predict(depth), camera=CAMERA))
        return samples.depth_m[np.hypot(*(samples.pixels - (u, v)).T).argmin()]

    # On the axis of a camera that looks 30 degrees down the floor is at twice the height.
    assert floor_depth(pi / 6, 0.0, WIDTH / 2, HEIGHT / 2) == pytest.approx(2.0, rel=0.02)
    assert floor_depth(pi / 6, 0.2, WIDTH - 10, 100) < 0.9 * floor_depth(pi / 6, 0.2, 10, 100)


def test_a_table_top_is_not_taken_for_the_floor_beside_it():
    table = box((0.4, 2.2), (-0.3, 2.0), (0.7, 0.75))
    depth, is_floor = render(1.4, 0.45, 0.0, (*ROOM, table))
    assert is_floor[HEIGHT // 2 :].mean() < 0.35
    view = View(predict(depth, noise=0.02), camera=CAMERA)
    assert median_error(estimate(source_of(1.4, 0.45), view), depth) < 0.02


def test_a_table_top_with_little_floor_beside_it_is_refused():
    table = box((0.1, 2.2), (-3.0, 3.0), (0.7, 0.75))
    depth, is_floor = render(1.4, 0.35, 0.0, (*ROOM, table))
    assert 0.03 < is_floor.mean() < 0.1
    with pytest.raises(EvidenceError, match='farther than the floor behind them'):
        source_of(1.4, 0.35).measure(None, View(predict(depth, noise=0.02), camera=CAMERA))


@pytest.mark.parametrize('pitch', [-0.25, -0.1, 0.0, 0.2])
def test_a_wall_is_not_a_floor(pitch):
    depth, _ = render(1.2, pitch, 0.0, [box((1.5, 3), (-90, 90), (-90, 90))], floor=False)
    for noise in (0.0, 0.02):
        with pytest.raises(EvidenceError, match='floor'):
            source_of(1.2, pitch).measure(None, View(predict(depth, noise), camera=CAMERA))


@pytest.mark.parametrize(
    'disparity',
    [np.ones((HEIGHT, WIDTH), np.float32), np.random.default_rng(0).random((HEIGHT, WIDTH), np.float32)],
    ids=['constant', 'noise'],
)
def test_a_prediction_without_a_floor_is_refused(disparity):
    with pytest.raises(EvidenceError, match='floor'):
        source_of(1.2, 0.2).measure(None, View(disparity, camera=CAMERA))


def test_a_camera_that_sees_no_ground_is_told_so():
    view = View(predict(render(1.2, -0.7, 0.0, ROOM)[0]), camera=CAMERA)
    with pytest.raises(EvidenceError, match=r'0 of .* below the horizon.*turn the camera down'):
        source_of(1.2, -0.7).measure(None, view)
    with pytest.raises(EvidenceError, match='0 of 0 pixels'):
        source_of(1.2).measure(None, View(np.full((HEIGHT, WIDTH), np.nan, np.float32), camera=CAMERA))


def test_less_floor_than_asked_for_is_refused():
    depth, _ = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    with pytest.raises(EvidenceError, match=r'less than 95 % .min_share'):
        source_of(1.2, 0.25, min_share=0.95).measure(None, View(predict(depth), camera=CAMERA))


def test_without_a_calibration_there_is_no_floor():
    with pytest.raises(EvidenceError, match='CameraInfo'):
        source_of(1.2, 0.25).measure(None, View(predict(render(1.2, 0.25)[0])))


@pytest.mark.parametrize('error_deg', [-3.0, -1.0, 1.0, 3.0])
def test_a_wrong_pitch_shifts_inverse_depth_by_the_angle_over_the_height(error_deg):
    depth, _ = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    view = View(predict(depth), camera=CAMERA)
    estimated = estimate(source_of(1.2, 0.25 + radians(error_deg)), view)
    far = (depth > 3.0) & (depth < 6.0)
    assert np.median(1.0 / estimated[far] - 1.0 / depth[far]) == pytest.approx(radians(error_deg) / 1.2, rel=0.15)


# Frames: where the camera is on a robot, with the robot's base on the floor.

MOUNT = (0.3, -0.1, 1.2)
PITCH, ROLL = 0.25, 0.1


@pytest.mark.parametrize('error_deg', [-1.0, 1.0])
def test_sigma_covers_an_error_of_the_pitch_however_long_it_lasts(error_deg):
    depth, _ = render(1.2, 0.25, 0.0, ROOM + FURNITURE)
    pitch = 0.25 + radians(error_deg)

    def covered(**sigmas):
        aligner = Aligner(source_of(1.2, pitch, **sigmas))
        for i in range(20):
            view = View(predict(depth, noise=0.01, seed=i), stamp_ns=i * 100_000_000, camera=CAMERA)
            frame = aligner.align(view)
        return np.mean(np.abs(frame.depth - depth)[depth > 3.0] < 2.0 * frame.sigma()[depth > 3.0])

    assert covered(gravity_sigma_rad=radians(1.0)) > 0.9
    assert covered(gravity_sigma_rad=0.0, height_sigma_m=0.0) < 0.5


def base_from_camera():
    pose = np.eye(4)
    pose[:3, :3] = level_from_body(PITCH, ROLL) @ BODY_FROM_OPTICAL
    pose[:3, 3] = MOUNT
    return pose


class Frames:
    """Poses of other frames in the camera's."""

    def __init__(self, **poses):
        self.poses = poses

    def lookup(self, target_frame, target_ns, source_frame, source_ns):
        assert (target_frame, target_ns) == ('camera_optical_frame', 77)
        if source_frame not in self.poses:
            raise TransformError(f'no {source_frame}')
        return self.poses[source_frame]


def tilted_view(transforms):
    depth, _ = render(MOUNT[2], PITCH, ROLL, ROOM + FURNITURE)
    return View(
        predict(depth), camera=CAMERA, stamp_ns=77, frame_id='camera_optical_frame', transforms=transforms
    ), depth


@pytest.mark.parametrize(
    'settings',
    [{}, {'height_m': 1.2}, {'gravity': 'parameters', 'pitch_rad': PITCH, 'roll_rad': ROLL}],
    ids=['both from tf', 'up from tf', 'height from tf'],
)
def test_the_base_frame_gives_height_and_up(settings):
    view, depth = tilted_view(Frames(base_footprint=np.linalg.inv(base_from_camera())))
    assert median_error(estimate(GroundSource(**settings), view), depth) < 1e-4


def test_fixed_extrinsics_are_the_pose_of_the_base_frame():
    # The optical frame of a level camera turns the base's x to its z, y to -x and z to -y.
    extrinsics = (0.0, 1.2, 0.0, 0.5, -0.5, 0.5, 0.5)
    depth, _ = render(1.2, 0.0, 0.0, ROOM)
    view = View(predict(depth), camera=CAMERA, transforms=FixedTransforms(extrinsics))
    assert median_error(estimate(GroundSource(), view), depth) < 1e-4


def test_a_missing_frame_is_an_error_of_transforms():
    with pytest.raises(TransformError):
        GroundSource().measure(None, tilted_view(NoTransforms())[0])


def test_a_camera_below_its_base_frame_is_refused():
    upside_down = base_from_camera()
    upside_down[2, 3] = -0.4
    view, _ = tilted_view(Frames(base_footprint=np.linalg.inv(upside_down)))
    with pytest.raises(EvidenceError, match=r"-0\.400 m above 'base_footprint'"):
        GroundSource().measure(None, view)


# Gravity from an IMU that is mounted askew.

LEVEL_FROM_IMU = about((0.6, 0.0, 0.8), 2.0)
UP_IN_IMU = rigid_matrix((0, 0, 0), LEVEL_FROM_IMU)[2, :3]


def imu_message(make_header, orientation=LEVEL_FROM_IMU, acceleration=9.81 * UP_IN_IMU, covariance=0.01):
    return SimpleNamespace(
        header=make_header(77, 'imu_link'),
        orientation=SimpleNamespace(**dict(zip('xyzw', orientation, strict=True))),
        orientation_covariance=np.array([covariance] + [0.0] * 8),
        linear_acceleration=SimpleNamespace(**dict(zip('xyz', acceleration, strict=True))),
        linear_acceleration_covariance=np.zeros(9),
    )


def depth_error_with_imu(message):
    source = GroundSource(gravity='imu', height_m=1.2)
    to_camera = np.linalg.inv(base_from_camera()) @ rigid_matrix((0, 0, 0), LEVEL_FROM_IMU)
    view, depth = tilted_view(Frames(imu_link=to_camera))
    samples = source.measure(source.read('imu', message), view)
    alignment = fit_scale_shift(view.disparity[samples.pixels[:, 1], samples.pixels[:, 0]], samples.depth_m)
    return median_error(alignment.depth(view.disparity), depth)


def test_an_imus_orientation_tells_up_while_it_accelerates(make_header):
    braking = 9.81 * UP_IN_IMU + [0.0, 3.0, 0.0]
    assert depth_error_with_imu(imu_message(make_header, acceleration=braking)) < 1e-4


def test_an_imu_is_where_it_was_when_it_measured(make_header):
    asked = []

    class Moving:
        def lookup(self, *query):
            asked.append(query)
            return np.linalg.inv(base_from_camera()) @ rigid_matrix((0, 0, 0), LEVEL_FROM_IMU)

    message = imu_message(make_header)
    message.header = make_header(5, 'imu_link')
    source = GroundSource(gravity='imu', height_m=1.2)
    source.measure(source.read('imu', message), tilted_view(Moving())[0])
    assert asked == [('camera_optical_frame', 77, 'imu_link', 5)]


@pytest.mark.parametrize('changes', [{'covariance': -1.0}, {'orientation': (0.0, 0.0, 0.0, 0.0), 'covariance': 0.0}])
def test_without_orientation_the_acceleration_at_rest_tells_up(make_header, changes):
    assert depth_error_with_imu(imu_message(make_header, **changes)) < 1e-4


def test_sigma_covers_what_accelerating_tilts_where_there_is_no_orientation(make_header):
    forward = rigid_matrix((0, 0, 0), LEVEL_FROM_IMU)[0, :3]
    message = imu_message(make_header, covariance=-1.0, acceleration=9.81 * UP_IN_IMU + 0.7 * forward)
    to_camera = np.linalg.inv(base_from_camera()) @ rigid_matrix((0, 0, 0), LEVEL_FROM_IMU)
    view, depth = tilted_view(Frames(imu_link=to_camera))

    def covered(**parameters):
        aligner = Aligner(GroundSource(gravity='imu', height_m=1.2, **parameters))
        aligner.add_message('imu', message)
        frame = aligner.align(view)
        return np.mean((np.abs(frame.depth - depth) < 2.0 * frame.sigma())[(depth > 3.0) & (depth < 8.0)])

    assert covered() > 0.95
    assert covered(acceleration_sigma=0.0) < 0.1


def test_an_orientation_that_nobody_filled_in_does_not_mean_level(make_header):
    """The default of ROS 2 is the identity."""
    assert depth_error_with_imu(imu_message(make_header, (0.0, 0.0, 0.0, 1.0), covariance=0.0)) < 1e-4
    default = pytest.importorskip('sensor_msgs.msg', reason='needs ROS messages').Imu()
    with pytest.raises(EvidenceError, match='no orientation'):
        GroundSource(gravity='imu', height_m=1.2).read('imu', default)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'covariance': -1.0, 'acceleration': (0.0, 0.0, 12.0)}, r'12\.00 m/s\^2 is not within 0\.3'),
        ({'covariance': -1.0, 'acceleration': (0.0, 0.0, 0.0)}, 'not within'),
        ({'covariance': -1.0, 'acceleration': (0.0, float('nan'), 9.8)}, 'not within'),
        ({'orientation': (0.0, 0.0, 0.0, 0.5)}, 'no rotation'),
        ({'orientation': (0.0, 0.0, float('nan'), 1.0)}, 'no rotation'),
        ({'orientation': (0.0, 0.0, 0.0, 1.0)}, 'disagree by .* degrees'),
    ],
)
def test_an_imu_that_does_not_tell_up_is_refused(make_header, changes, text):
    with pytest.raises(EvidenceError, match=text):
        GroundSource(gravity='imu', height_m=1.2).read('imu', imu_message(make_header, **changes))


def test_an_acceleration_that_is_marked_absent_tells_nothing(make_header):
    message = imu_message(make_header, covariance=-1.0)
    message.linear_acceleration_covariance[0] = -1.0
    with pytest.raises(EvidenceError, match='no orientation'):
        GroundSource(gravity='imu', height_m=1.2).read('imu', message)


def test_how_far_acceleration_may_be_from_gravity_is_a_parameter(make_header):
    message = imu_message(make_header, covariance=-1.0, acceleration=(0.0, 0.0, 10.5))
    assert GroundSource(gravity='imu', height_m=1.2, acceleration_tolerance=1.0).read('imu', message)
    with pytest.raises(EvidenceError):
        GroundSource(gravity='imu', height_m=1.2).read('imu', message)


def test_only_gravity_from_an_imu_needs_a_message():
    assert GroundSource().topics == source_of(1.0).topics == {}
    assert GroundSource(gravity='imu', height_m=1.0).topics == {'imu': 'sensor_msgs/msg/Imu'}


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        ({'gravity': 'compass'}, 'gravity must be'),
        ({'height_m': -1.0}, 'height_m'),
        ({'height_m': float('nan')}, 'height_m'),
        ({'pitch_rad': 0.2}, 'gravity = parameters'),
        ({'gravity': 'parameters', 'pitch_rad': 2.0}, 'pi/2'),
        ({'gravity': 'parameters', 'roll_rad': float('inf')}, 'finite'),
        ({'gravity': 'imu'}, 'needs height_m'),
        ({'base_frame': ''}, 'base_frame is empty'),
        ({'min_share': 0.0}, 'min_share'),
        ({'acceleration_tolerance': -1.0}, 'acceleration_tolerance'),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        GroundSource(**settings)


@pytest.mark.skipif(not HOLOLENS.is_dir(), reason='needs the hololens sequence of shared/data')
def test_a_real_floor_is_found_where_it_is_seen():
    """True depth of a walk through a room, with 3 % of noise, and gravity and height from its poses (y is up)."""
    intrinsics = np.loadtxt(HOLOLENS / 'K.txt')
    camera = CameraModel(540, 360, *intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]])
    rays = camera.rays(360, 540)
    poses = np.loadtxt(HOLOLENS / 'poses.txt').reshape(-1, 4, 4)
    floor_level = -1.53
    found, visible, errors = 0, 0, []
    for path, pose in list(zip(sorted((HOLOLENS / 'depth').glob('*.png')), poses, strict=True))[::12]:
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64) / 1000.0
        depth[depth == 0.0] = np.nan
        up, height_m = pose[1, :3], pose[1, 3] - floor_level
        level = (rays * depth[..., None]) @ pose[1, :3] + pose[1, 3]
        below = np.isfinite(depth) & (rays @ -up > 0.05)
        random = np.random.default_rng(0)
        disparity = 30.0 * (1.0 + 0.03 * random.standard_normal(depth.shape)) / depth + 2.0
        source = source_of(height_m, asin(-up[2]), atan2(-up[0], -up[1]))
        seen_floor = np.mean(np.abs(level[below] - floor_level) < 0.08)
        if seen_floor < 0.25:
            continue
        visible += 1
        try:
            estimated = estimate(source, View(disparity.astype(np.float32), camera=camera))
        except EvidenceError:
            continue
        found += 1
        errors.append(abs(np.nanmedian(estimated / depth) - 1.0))
    assert visible >= 10
    assert found >= 0.9 * visible
    assert max(errors) < 0.03
