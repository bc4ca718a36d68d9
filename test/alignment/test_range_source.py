"""One range to a scale: things at known places in a cone, seen by a model of known scale and shift."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan, pi, radians
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.alignment import Aligner, AlignerSettings, EvidenceError, View, make_source
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.transforms import FixedTransforms, TransformError, rigid_matrix

CAMERA = CameraModel(320, 240, 250.0, 250.0, 159.5, 119.5)
TOPIC = 'scale_reference'
# x forward, z up, as range sensors have it, at the camera.
AT_CAMERA = (0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5)
SCALE = 0.02
V, U = np.mgrid[:240, :320]
RAYS = np.stack([(U - 159.5) / 250, (V - 119.5) / 250, np.ones((240, 320))], axis=-1)


def turned(degrees):
    """A sensor at the camera, turned to the left."""
    c, s = np.cos(radians(degrees) / 2) / 2, np.sin(radians(degrees) / 2) / 2
    return (0.0, 0.0, 0.0, c - s, -c - s, c + s, c - s)


@pytest.fixture
def make_range(make_header):
    def make(distance, **changes):
        fields = {
            'header': make_header(0, 'sonar'),
            'radiation_type': 0,
            'field_of_view': radians(20),
            'min_range': 0.02,
            'max_range': 10.0,
            'range': distance,
            'variance': 0.0,
        }
        return SimpleNamespace(**(fields | changes))

    return make


@pytest.fixture
def measure(make_range):
    def run(distance, seen_by, message=(), **parameters):
        source = make_source('range', parameters)
        return source.measure(source.read(TOPIC, make_range(distance, **dict(message))), seen_by)

    return run


def view(depth, pose=AT_CAMERA, shift=0.0, **changes):
    """What a model of this scale and shift predicts for a depth image."""
    values = ((1.0 / depth - shift) / SCALE).astype(np.float32)
    return View(**({'values': values, 'camera': CAMERA, 'transforms': FixedTransforms(pose)} | changes))


def wall(distance=2.0, slant=0.0):
    """Depth of a wall that crosses the axis at this distance, turned about the vertical by slant, degrees."""
    return distance / (1.0 + RAYS[..., 0] * np.tan(radians(slant)))


def ball(centre, radius, background):
    """Depth of a ball in front of a background."""
    a, b = np.sum(RAYS**2, axis=-1), RAYS @ centre
    root = b**2 - a * (np.dot(centre, centre) - radius**2)
    return np.where(root > 0, np.minimum((b - np.sqrt(np.maximum(root, 0))) / a, background), background)


def nearest_in_cone(depth, pose, field_of_view):
    """What an ideal sensor says: the distance to the nearest visible surface in the cone, pixel by pixel."""
    from_sensor = (RAYS * depth[..., None]) - pose[:3]
    distance = np.linalg.norm(from_sensor, axis=-1)
    ahead = from_sensor @ rigid_matrix(pose[:3], pose[3:])[:3, 0]
    return distance[ahead > distance * np.cos(field_of_view / 2)].min()


@pytest.mark.parametrize('shift', [0.0, 0.1, -0.1])
def test_a_wall_gives_the_scale(measure, shift):
    prior = measure(2.0, view(wall(2.0), shift=shift), shift=shift)
    # A low percentile, not the least: the cap at 5 % of its solid angle is 0.15 % from the flat wall.
    assert prior.scale == pytest.approx(SCALE, rel=0.003)
    assert (prior.shift, prior.shift_sigma) == (shift, 0.0)


@pytest.mark.parametrize(
    'pose',
    [
        pytest.param(AT_CAMERA, id='at the camera'),
        pytest.param((0.3, 0.1, 0.0, *AT_CAMERA[3:]), id='at the side'),
        pytest.param((0.0, 0.4, 0.3, *AT_CAMERA[3:]), id='below and in front'),
        pytest.param((0.0, -0.2, -0.5, *AT_CAMERA[3:]), id='above and behind'),
        pytest.param((0.3, 0.0, 0.0, *turned(15)[3:]), id='turned to the side'),
    ],
)
@pytest.mark.parametrize(
    'depth',
    [
        pytest.param(wall(2.0), id='wall'),
        pytest.param(wall(2.0, 40), id='slanted wall'),
        pytest.param(ball((0.1, 0.05, 1.6), 0.2, wall(4.0)), id='ball'),
    ],
)
def test_wherever_the_sensor_is_the_nearest_thing_in_the_cone_gives_the_scale(measure, depth, pose):
    field_of_view = radians(20)
    distance = nearest_in_cone(depth, pose, field_of_view)
    prior = measure(distance, view(depth, pose), percentile=0.0, min_in_view=0.0)
    assert prior.scale == pytest.approx(SCALE, rel=0.01)


def test_the_range_is_from_the_sensor_and_not_from_the_camera(measure):
    behind = (0.0, 0.0, -0.5, *AT_CAMERA[3:])
    assert measure(2.5, view(wall(2.0), behind)).scale == pytest.approx(SCALE, rel=0.004)


def test_the_sensor_looks_along_its_x(measure):
    depth = np.where(U < 160, wall(2.0), wall(4.0))
    # 15 degrees to each side, the nearest that a cone of 20 degrees hits is 5 degrees off the axis.
    left, right = (measure(2.0 / np.cos(radians(5)), view(depth, turned(angle))) for angle in (15, -15))
    assert left.scale == pytest.approx(SCALE, rel=0.01)
    assert right.scale == pytest.approx(2 * SCALE, rel=0.01)


def test_the_lens_is_minded(measure):
    """The same wall through another lens gives the same scale."""
    from depth_anything_ros.geometry.distortion import EquidistantDistortion

    lens = CameraModel(320, 240, 120.0, 120.0, 159.5, 119.5, EquidistantDistortion((0.0, 0.0, 0.0, 0.0)))
    prior = measure(2.0 * 3**0.5, view(wall_through(lens), camera=lens), field_of_view=radians(50))
    assert prior.scale == pytest.approx(SCALE, rel=0.05)


def wall_through(lens):
    """A ball of radius 2 sqrt(3) m about the camera: all that a cone hits is at its range."""
    rays = lens.rays(240, 320).astype(float)
    depth = 2.0 * 3**0.5 / np.linalg.norm(rays, axis=-1)
    return np.where(np.isfinite(depth), depth, 100.0)


def test_noise_in_the_disparity_does_not_set_the_scale(measure):
    seen = view(wall(2.0))
    rng = np.random.default_rng(0)
    wild = rng.random(seen.values.shape) < 0.02
    seen.values[wild] *= 10
    assert measure(2.0, seen).scale == pytest.approx(SCALE, rel=0.01)
    assert measure(2.0, seen, percentile=0.0).scale == pytest.approx(SCALE / 10, rel=0.01)


def test_what_is_beside_the_cone_does_not_matter(measure):
    depth = np.where(np.hypot(U - 159.5, V - 119.5) < 250 * np.tan(radians(11)), wall(2.0), 0.3)
    assert measure(2.0, view(depth)).scale == pytest.approx(SCALE, rel=0.003)
    assert measure(2.0, view(depth), {'field_of_view': radians(30)}).scale < 0.3 * SCALE
    narrow = measure(2.0, view(depth), {'field_of_view': radians(30)}, field_of_view=radians(20))
    assert narrow.scale == pytest.approx(SCALE, rel=0.003)


def test_a_beam_narrower_than_a_pixel_hits_one(measure):
    assert measure(2.0, view(wall(2.0)), {'field_of_view': 1e-6}).scale == pytest.approx(SCALE, rel=1e-4)


def test_the_uncertainty_is_that_of_the_range(measure):
    assert measure(2.0, view(wall(2.0))).scale_sigma == pytest.approx(0.05)
    assert measure(2.0, view(wall(2.0)), relative_sigma=0.2).scale_sigma == pytest.approx(0.2)
    noisy = measure(2.0, view(wall(2.0)), {'variance': 0.3**2})
    assert noisy.scale_sigma == pytest.approx(np.hypot(0.05, 0.15))
    assert measure(2.0, view(wall(2.0)), {'variance': nan}).scale_sigma == pytest.approx(0.05)
    # With 1/z = 0.5 = scale * d + 0.25, an error of 1/z is twice the fraction of what is left for the scale.
    shifted = measure(2.0, view(wall(2.0), shift=0.25), shift=0.25)
    assert shifted.scale_sigma == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize('shift', [0.1, -0.1])
def test_sigma_covers_a_shift_that_was_guessed_however_long_it_lasts(make_range, shift):
    depth = np.where(U < 160, 2.0, 6.0)
    aligner = Aligner(make_source('range', {'field_of_view': 1e-6}), AlignerSettings())
    for i in range(20):
        message = make_range(6.0)
        message.header.stamp.nanosec = i * 10_000_000
        aligner.add_message(TOPIC, message)
        frame = aligner.align(replace(view(depth, shift=shift), stamp_ns=i * 10_000_000))
    near = U < 160
    assert np.abs(frame.depth - depth)[near].max() > 0.05
    assert (np.abs(frame.depth - depth) < 2.0 * frame.sigma())[near].all()


def test_an_error_of_the_range_is_an_error_of_the_scale_as_sigma_says(measure):
    right, wrong = (measure(d, view(wall(2.0), shift=0.2), shift=0.2) for d in (2.0, 2.0 / 1.01))
    assert np.log(wrong.scale / right.scale) == pytest.approx(0.01 * right.scale_sigma / 0.05, rel=0.02)


def test_messages_before_iron_have_no_variance(make_range, measure):
    message = make_range(2.0)
    del message.variance
    source = make_source('range')
    assert source.measure(source.read(TOPIC, message), view(wall(2.0))).scale_sigma == pytest.approx(0.05)


def test_a_message_of_rclpy_will_do(make_range):
    messages = pytest.importorskip('sensor_msgs.msg', reason='sensor_msgs is not installed')
    fields = {key: value for key, value in vars(make_range(2.0)).items() if key != 'header'}
    source = make_source('range')
    echo = source.read(TOPIC, messages.Range(**fields))
    assert source.measure(echo, view(wall(2.0))).scale == pytest.approx(SCALE, rel=0.003)


def test_a_metric_model_is_corrected_by_a_factor(measure):
    """It says 1.6 m, the sensor 2 m: inverse depth is to be multiplied by 0.8."""
    seen = View(wall(1.6).astype(np.float32), 'depth', camera=CAMERA, transforms=FixedTransforms(AT_CAMERA))
    assert measure(2.0, seen).scale == pytest.approx(0.8, rel=0.003)


def test_a_metric_model_that_can_only_say_far_gives_no_scale(measure):
    seen = View(
        wall(19.9).astype(np.float32),
        'depth',
        camera=CAMERA,
        transforms=FixedTransforms(AT_CAMERA),
        max_depth_m=20.0,
    )
    with pytest.raises(EvidenceError, match=r'farther than 20 m, .* where the sensor measures 2\.00 m'):
        measure(2.0, seen)
    assert measure(2.0, replace(seen, max_depth_m=80.0)).scale == pytest.approx(9.95, rel=0.003)


@pytest.mark.parametrize('unknown', [nan, inf, 0.0, -3.0])
def test_holes_in_the_disparity_are_not_near(measure, unknown, recwarn):
    seen = view(wall(2.0))
    seen.values[::2] = unknown
    assert measure(2.0, seen, percentile=2.0).scale == pytest.approx(SCALE, rel=0.003)
    assert not recwarn.list


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'range': inf}, r'farther than it can measure \(inf\)'),
        ({'range': -inf}, r'too near to be measured \(-inf\)'),
        ({'range': nan}, 'the range is nan m, expected'),
        ({'range': 0.0, 'min_range': 0.0}, 'the range is 0 m, expected'),
        ({'range': 0.01}, 'the range is 0.01 m, expected min_range to max_range, 0.02 m to 10 m'),
        ({'range': 10.1}, 'the range is 10.1 m'),
        ({'range': 10.0}, 'the range is max_range, 10 m: the nearest thing may be farther'),
        ({'max_range': nan}, '0.02 m to nan m'),
        ({'min_range': 2.0, 'max_range': 2.0}, 'min_range = max_range = 2: it says whether something is nearer'),
        ({'field_of_view': 0.0}, r'field_of_view = 0, .*; set alignment\.range\.field_of_view'),
        ({'field_of_view': nan}, 'field_of_view = nan'),
        ({'field_of_view': 20.0}, 'field_of_view = 20, expected an angle up to pi'),
    ],
)
def test_what_is_no_range_is_refused_when_it_is_read(make_range, changes, text):
    with pytest.raises(EvidenceError, match=text):
        make_source('range').read(TOPIC, make_range(2.0, **changes))


def test_a_field_of_view_that_the_user_gives_is_taken(measure):
    assert measure(2.0, view(wall(2.0)), {'field_of_view': 0.0}, field_of_view=0.3).scale == pytest.approx(
        SCALE, rel=0.003
    )


@pytest.mark.parametrize(
    ('pose', 'share'),
    [
        pytest.param((0, 0, 0, 0.5, 0.5, -0.5, 0.5), 'beside', id='looks away'),
        pytest.param((0, 0, 0, 0.0, 0.0, 0.0, 1.0), 'beside', id='looks along x of the optical frame'),
        pytest.param(turned(32), 'part', id='half out of the image'),
    ],
)
def test_a_cone_that_the_camera_does_not_see_is_refused(measure, pose, share):
    with pytest.raises(EvidenceError, match=r"% of the cone of 'sonar' at 2\.00 m is in the image, expected 90%") as no:
        measure(2.0, view(wall(2.0), pose))
    assert str(no.value).startswith('0%') is (share == 'beside')
    if share == 'part':
        measure(2.0, view(wall(2.0), pose), min_in_view=0.1)
    else:
        with pytest.raises(EvidenceError, match='0% of the cone'):
            measure(2.0, view(wall(2.0), pose), min_in_view=0.0)


def test_a_shift_that_leaves_no_scale_is_refused(measure):
    with pytest.raises(
        EvidenceError, match=r'at 2\.00 m a shift of 0\.6 1/m leaves no positive scale; it must be below'
    ):
        measure(2.0, view(wall(2.0)), shift=0.6)


@pytest.mark.parametrize(('value', 'text'), [(0.0, 'the disparity is 0 all over the cone'), (nan, 'not finite')])
def test_a_cone_in_which_the_model_sees_nothing_is_refused(measure, value, text):
    seen = View(np.full((240, 320), value, np.float32), camera=CAMERA, transforms=FixedTransforms(AT_CAMERA))
    with pytest.raises(EvidenceError, match=text):
        measure(2.0, seen)


def test_it_needs_a_camera_and_a_transform(measure):
    values = np.ones((240, 320), np.float32)
    with pytest.raises(EvidenceError, match='CameraInfo'):
        measure(2.0, View(values))
    with pytest.raises(TransformError, match='sonar'):
        measure(2.0, View(values, camera=CAMERA, frame_id='camera'))


def test_the_sensor_is_where_it_was_when_it_measured(measure, make_header):
    asked = []

    class Moving:
        def lookup(self, *query):
            asked.append(query)
            return rigid_matrix(AT_CAMERA[:3], AT_CAMERA[3:])

    seen = view(wall(2.0), transforms=Moving(), stamp_ns=77, frame_id='camera')
    measure(2.0, seen, {'header': make_header(5, 'sonar')})
    assert asked == [('camera', 77, 'sonar', 5)]


def test_a_cone_of_half_the_space_is_a_cone(measure):
    with pytest.raises(EvidenceError, match='% of the cone'):
        measure(2.0, view(wall(2.0)), {'field_of_view': pi})


def test_it_subscribes_to_a_range():
    assert make_source('range').topics == {TOPIC: 'sensor_msgs/msg/Range'}
