"""Whatever is published of a frame, the device makes it as the host does."""

from array import array
from types import SimpleNamespace
from weakref import WeakSet

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('sensor_msgs', reason='needs ROS 2: pip install depth_anything_ros[ros]')

from depth_anything_ros.alignment import AlignedFrame, Alignment
from depth_anything_ros.estimation import DepthEstimator, NonFinitePredictionError, Prediction
from depth_anything_ros.estimation.resident import Resident
from depth_anything_ros.estimation.transfer import numbers_to_device, to_host
from depth_anything_ros.geometry import Camera, CameraModel, DepthRectifier
from depth_anything_ros.geometry.tensors import rectified, rectifier_maps
from depth_anything_ros.network import DepthAnything
from depth_anything_ros.node import device_products
from depth_anything_ros.node.device_products import DeviceRender
from depth_anything_ros.node.products import (
    COLOR,
    DEPTH,
    DEPTH_INFO,
    MILLIMETRES,
    POINTS,
    RELATIVE,
    SIGMA,
    TOPICS,
    Products,
    render,
)

HEIGHT, WIDTH = 36, 48
RAW = {
    'width': WIDTH,
    'height': HEIGHT,
    'distortion_model': 'plumb_bob',
    'd': [-0.3, 0.1, 0.001, -0.001, 0.0],
    'k': [30.0, 0, 23.5, 0, 30.0, 17.0, 0, 0, 1],
    'r': cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0].ravel().tolist(),
    'p': [24.0, 0, 23.0, 0, 0, 24.0, 18.0, 0, 0, 0, 1, 0],
}
DISTORTED = Camera(CameraModel.from_camera_info(RAW, rectified=False), DepthRectifier.from_camera_info(RAW), RAW)
PINHOLE = Camera(CameraModel.from_camera_info(RAW, rectified=True), None, RAW)
FITTED = Alignment(0.02, -0.1, covariance=(4e-4, -1e-5, 1e-4), noise=(0.01, 0.02))
CURVED = Alignment(0.02, 0.05, covariance=(4e-4, -1e-5, 1e-4), noise=(0.0, 0.05), field=(0.1, -0.1, 0.05, 0.02, -0.04))
CONSTANT = Alignment(0.02, 0.05)
DEFAULTS = {
    'range_min_m': 0.3,
    'range_max_m': 20.0,
    'edge_threshold': 0.07,
    'points_stride': 4,
    'points_voxel_m': 0.0,
    'points_max_relative_sigma': 0.0,
    'points_organized': False,
    'points_color': True,
    'colormap': 'inferno',
}
TYPES = {
    RELATIVE: np.float32,
    DEPTH: np.float32,
    SIGMA: np.float32,
    MILLIMETRES: np.uint16,
    COLOR: np.uint8,
    POINTS: np.float32,
}


def scene(seed=0):
    """Disparity with steps, slopes, zeros, and values for which the fits say less than nothing; and the picture."""
    rng = np.random.default_rng(seed)
    disparity = rng.uniform(-20.0, 90.0, (6, 8)).repeat(6, 0).repeat(6, 1)
    disparity = (disparity * (1.0 + 0.05 * rng.random((HEIGHT, WIDTH)))).astype(np.float32)
    disparity[:2, :10] = 0.0
    return disparity, rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def frame(values, image, alignment, camera, kind, on, least_disparity=-np.inf, **settings):
    """Products of a prediction that is an array, or on a device."""
    pixels = None
    if on is not None:
        finite = torch.tensor(bool(np.isfinite(values).all()), device=on)
        values, pixels = Resident(torch.tensor(values, device=on), finite, 'fp32'), torch.tensor(image, device=on)
    prediction = Prediction(values, kind, values.shape, None, pixels)
    if alignment is None and kind == 'depth':
        with np.errstate(divide='ignore'):
            aligned = AlignedFrame(np.float32(1.0) / values, None, values, least_disparity)
    else:
        aligned = AlignedFrame(values, alignment, least_disparity=least_disparity)
    return Products(image, prediction, aligned, camera, SimpleNamespace(**DEFAULTS | settings))


def published(rendered):
    messages = {}
    for name, fill in rendered:
        messages[name] = SimpleNamespace(data=array('B'))
        fill(messages[name])
    return messages


def check_equal(found, expected):
    assert list(found) == list(expected)  # in the same order
    for name in found.keys() - {DEPTH_INFO}:
        ours, theirs = vars(found[name]), vars(expected[name])
        assert {key: ours[key] for key in ours if key != 'data'} == {key: theirs[key] for key in ours if key != 'data'}
        ours, theirs = (np.frombuffer(facts['data'], TYPES[name]) for facts in (ours, theirs))
        if name == COLOR:
            assert np.abs(ours.astype(int) - theirs).mean() < 0.1  # a step of the colour map here and there
        elif name == MILLIMETRES:
            np.testing.assert_allclose(ours.astype(int), theirs, atol=1)
            np.testing.assert_array_equal(ours == 0, theirs == 0)
        elif name == POINTS and found[name].point_step == 16:
            np.testing.assert_array_equal(ours.view(np.int32)[3::4], theirs.view(np.int32)[3::4])
            np.testing.assert_allclose(*(values.reshape(-1, 4)[:, :3] for values in (ours, theirs)), rtol=1e-4)
        else:  # NaN and the infinities must be where they are
            np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize('camera', [PINHOLE, DISTORTED, None], ids=['pinhole', 'distorted', 'none'])
@pytest.mark.parametrize('alignment', [FITTED, CURVED, CONSTANT, None], ids=['fitted', 'curved', 'constant', 'none'])
def test_all_topics(device, alignment, camera):
    disparity, image = scene()
    host, ours = (frame(disparity, image, alignment, camera, 'disparity', on) for on in (None, device))
    assert ours.possible() == host.possible()
    check_equal(published(DeviceRender(device)(ours, ours.possible())), published(render(host, host.possible())))


@pytest.mark.parametrize('alignment', [None, CONSTANT], ids=['believed', 'corrected'])
def test_a_metric_model(device, alignment):
    depth, image = np.abs(scene()[0]), scene()[1]
    host, ours = (frame(depth, image, alignment, DISTORTED, 'depth', on) for on in (None, device))
    topics = host.possible()
    assert topics == ours.possible() == {*TOPICS} - {RELATIVE, SIGMA}
    check_equal(published(DeviceRender(device)(ours, topics)), published(render(host, topics)))


@pytest.mark.parametrize('alignment', [None, CONSTANT], ids=['believed', 'corrected'])
def test_a_metric_model_that_is_saturated(device, alignment, monkeypatch):
    values = np.abs(scene()[0])
    least = float(np.median(values if alignment else 1.0 / np.maximum(values, 1e-6)))
    render_on_device, plans = DeviceRender(device), []
    monkeypatch.setattr(device_products, 'rectifier_maps', lambda *of: plans.append(of) or rectifier_maps(*of))
    # The stabilizer changes it with each frame, for which no plan is made anew.
    for limit in (least, *np.linspace(0.8 * least, 1.2 * least, 5)):
        host, ours = (frame(values, scene()[1], alignment, DISTORTED, 'depth', on, limit) for on in (None, device))
        found = published(render_on_device(ours, {DEPTH, POINTS}))
        depth = np.frombuffer(found[DEPTH].data, np.float32)
        assert np.mean(np.isposinf(depth)) > 0.3
        check_equal(found, published(render(host, {DEPTH, POINTS})))
    assert len(plans) == 1


@pytest.mark.parametrize(
    'settings',
    [
        {'points_stride': 1},
        {'points_stride': 7, 'points_organized': True},
        {'points_stride': 1, 'points_voxel_m': 0.5},
        {'points_voxel_m': 0.5, 'points_color': False},
        {'points_color': False},
        {'points_stride': 1, 'points_max_relative_sigma': 0.06},
        {'edge_threshold': 0.0, 'range_min_m': 0.0, 'range_max_m': 1000.0},
        {'range_max_m': 0.31},
        {'colormap': 'gray'},
    ],
    ids=lambda settings: ', '.join(f'{name} {value}' for name, value in settings.items()),
)
def test_settings(device, settings):
    disparity, image = scene()
    host, ours = (frame(disparity, image, FITTED, DISTORTED, 'disparity', on, **settings) for on in (None, device))
    check_equal(published(DeviceRender(device)(ours, {*TOPICS})), published(render(host, {*TOPICS})))


@pytest.mark.parametrize('organized', [False, True])
@pytest.mark.parametrize(
    ('limits', 'topics'), [((5.0, 9.0), [DEPTH]), ((0.3, 3.0), [DEPTH, POINTS])], ids=['too near', 'free']
)
def test_a_cloud_is_made_of_free_space_and_not_of_nothing(device, organized, limits, topics):
    disparity, image = np.full((HEIGHT, WIDTH), 10.0, np.float32), scene()[1]  # at 4 m
    settings = {'range_min_m': limits[0], 'range_max_m': limits[1], 'points_organized': organized}
    host, ours = (frame(disparity, image, CONSTANT, PINHOLE, 'disparity', on, **settings) for on in (None, device))
    found = published(DeviceRender(device)(ours, {DEPTH, POINTS}))
    assert list(found) == topics
    check_equal(found, published(render(host, {DEPTH, POINTS})))


@pytest.mark.parametrize('organized', [False, True])
@pytest.mark.parametrize(
    ('beside', 'columns', 'rows', 'topics'),
    [
        (np.nan, 2, HEIGHT, [DEPTH]),
        (np.nan, 40, HEIGHT, [DEPTH, POINTS]),
        (50.0, 2, HEIGHT, [DEPTH]),
        (50.0, 46, HEIGHT, [DEPTH]),
        (50.0, 46, 8, [DEPTH, POINTS]),
    ],
    ids=['a patch', 'most', 'a patch beside what is too near', 'most, and a post too near', 'all but a speck'],
)
def test_a_patch_of_free_space_is_no_free_way(device, beside, organized, columns, rows, topics):
    values, image = np.full((HEIGHT, WIDTH), 1.0, np.float32), scene()[1]
    values[:] = 4.0 if np.isnan(beside) else beside
    values[:, :columns] = values[rows:] = 0.0  # at 20 m
    # What has no depth: an edge from row to row.
    settings = {'range_min_m': 2.0, 'range_max_m': 15.0, 'points_organized': organized, 'points_stride': 2}
    if np.isnan(beside):
        values[::2, columns:] = 30.0
    else:
        settings['edge_threshold'] = 0.0
    host, ours = (frame(values, image, CONSTANT, PINHOLE, 'disparity', on, **settings) for on in (None, device))
    found = published(DeviceRender(device)(ours, {DEPTH, POINTS}))
    assert list(found) == topics
    check_equal(found, published(render(host, {DEPTH, POINTS})))


def test_pixels_that_the_lens_does_not_show_are_no_free_way(device):
    # 12 pixels a radian: a circle of 37 pixels across.
    k = [12.0, 0, 23.5, 0, 12.0, 17.5, 0, 0, 1]
    fisheye = {**RAW, 'distortion_model': 'equidistant', 'd': [0.0, 0.0, 0.0, 0.0], 'k': k}
    camera = Camera(CameraModel.from_camera_info(fisheye, rectified=False), None, fisheye)
    dark = np.isnan(camera.model.rays(HEIGHT, WIDTH)[..., 2])
    assert 0.3 < dark.mean() < 0.5
    values, image = np.where(dark, np.float32(0.0), np.float32(50.0)), scene()[1]
    settings = {'range_min_m': 2.0, 'range_max_m': 15.0, 'points_stride': 1, 'edge_threshold': 0.0}
    for of_lens, topics in ((values, [DEPTH]), (np.zeros_like(values), [DEPTH, POINTS])):
        host, ours = (frame(of_lens, image, CONSTANT, camera, 'disparity', on, **settings) for on in (None, device))
        found = published(DeviceRender(device)(ours, {DEPTH, POINTS}))
        assert list(found) == topics
        check_equal(found, published(render(host, {DEPTH, POINTS})))


@pytest.mark.parametrize(('limit', 'topics'), [(0.2, [DEPTH]), (0.4, [DEPTH, POINTS])], ids=['unsure', 'sure'])
def test_what_is_free_has_to_be_as_certain_as_a_point(device, limit, topics):
    # At 100 m: 0.01 1/m, of which FITTED is certain to 0.0142 1/m; at the range's end that were 28 % of the distance.
    values, image = np.full((HEIGHT, WIDTH), 5.5, np.float32), scene()[1]
    settings = {'points_max_relative_sigma': limit}
    host, ours = (frame(values, image, FITTED, PINHOLE, 'disparity', on, **settings) for on in (None, device))
    found = published(DeviceRender(device)(ours, {DEPTH, POINTS}))
    assert list(found) == topics
    check_equal(found, published(render(host, {DEPTH, POINTS})))


def test_at_network_size_the_colours_follow_the_depth(device):
    disparity, _ = scene()
    image = np.full((72, 96, 3), (10, 200, 60), np.uint8)
    host, ours = (frame(disparity, image, FITTED, PINHOLE, 'disparity', on) for on in (None, device))
    check_equal(published(DeviceRender(device)(ours, {POINTS})), published(render(host, {POINTS})))


@pytest.mark.parametrize('topic', sorted(TOPICS))
def test_one_topic_alone(device, topic):
    disparity, image = scene()
    host, ours = (frame(disparity, image, FITTED, PINHOLE, 'disparity', on) for on in (None, device))
    check_equal(published(DeviceRender(device)(ours, {topic})), published(render(host, {topic})))


def test_frame_after_frame_each_has_its_own_values_and_alignment(device, caplog):
    """On CUDA from the fourth on a graph is replayed."""
    ours, kept = DeviceRender(device), []
    for seed in range(6):
        disparity, image = scene(seed)
        alignment = Alignment(0.02 + 0.001 * seed, 0.01 * seed)
        made = [frame(disparity, image, alignment, DISTORTED, 'disparity', on) for on in (None, device)]
        kept.append((list(ours(made[1], {DEPTH, POINTS})), published(render(made[0], {DEPTH, POINTS}))))
    # What came down for a frame is not overwritten by those after it.
    for rendered, expected in kept:
        check_equal(published(rendered), expected)
    assert 'no CUDA graph' not in caplog.text


def test_where_the_memory_is_full_other_plans_give_back_theirs_and_the_frame_is_answered(device, monkeypatch):
    kept = WeakSet()

    def noted(*args):
        sources, scale = rectifier_maps(*args)
        kept.add(sources)
        return sources, scale

    def full(*args):
        if len(kept) > 1:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return rectified(*args)

    monkeypatch.setattr(device_products, 'rectifier_maps', noted)
    monkeypatch.setattr(device_products, 'rectified', full)
    ours, (disparity, image) = DeviceRender(device), scene()
    for topics in ({DEPTH}, {DEPTH, SIGMA}, {DEPTH}):
        host, made = (frame(disparity, image, FITTED, DISTORTED, 'disparity', on) for on in (None, device))
        check_equal(published(ours(made, topics)), published(render(host, topics)))


def test_an_alignment_may_come_and_go(device, monkeypatch, caplog):
    """What goes to the device keeps its shapes, for on CUDA a graph of the frames without one takes those with one."""
    shapes = set()

    def noted(numbers, device):
        sent = numbers_to_device(numbers, device)
        shapes.add(tuple(sent.shape))
        return sent

    monkeypatch.setattr(device_products, 'numbers_to_device', noted)
    ours, (disparity, image) = DeviceRender(device), scene()
    for alignment in (*5 * [None], CONSTANT, FITTED, None):
        host, made = (frame(disparity, image, alignment, PINHOLE, 'disparity', on) for on in (None, device))
        check_equal(published(ours(made, {RELATIVE, COLOR})), published(render(host, {RELATIVE, COLOR})))
    assert len(shapes) == 1
    assert 'no CUDA graph' not in caplog.text


def test_settings_and_subscribers_may_change_between_frames(device):
    ours, (disparity, image) = DeviceRender(device), scene()
    for stride, topics in (
        (4, {POINTS}),
        (1, {POINTS}),
        (4, {DEPTH, POINTS}),
        (4, set()),
        (2, {*TOPICS}),
        (4, {POINTS}),
    ):
        made = [
            frame(disparity, image, FITTED, PINHOLE, 'disparity', on, points_stride=stride) for on in (None, device)
        ]
        check_equal(published(ours(made[1], topics)), published(render(made[0], topics)))


def test_the_picture_may_change_its_size_though_the_prediction_does_not(device):
    ours, (disparity, _) = DeviceRender(device), scene()
    for size in [(72, 96)] * 5 + [(108, 144)]:
        image = np.full((*size, 3), (10, 200, 60), np.uint8)
        host, made = (frame(disparity, image, FITTED, PINHOLE, 'disparity', on) for on in (None, device))
        check_equal(published(ours(made, {POINTS})), published(render(host, {POINTS})))


@pytest.mark.parametrize('topics', [{DEPTH}, set()], ids=['depth', 'nothing'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_is_told_and_nothing_of_it_is_published(device, topics, value):
    disparity, image = scene()
    disparity[5, 5] = value
    made = frame(disparity, image, CONSTANT, PINHOLE, 'disparity', device)
    with pytest.raises(NonFinitePredictionError, match='fp32'):
        next(DeviceRender(device)(made, topics))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
def test_nothing_waits_for_the_gpu_before_the_products_come_down(monkeypatch):
    network = DepthAnything.from_name('lite0').eval()
    estimator = DepthEstimator(network, device='cuda', precision='fp32', backend='torch', input_size=64)
    ours, (_, image) = DeviceRender(estimator.device), scene()

    def come_down(tensor):
        torch.cuda.set_sync_debug_mode('default')
        return to_host(tensor)

    monkeypatch.setattr(device_products, 'to_host', come_down)
    try:
        for number in range(6):
            if number in (1, 5):  # operation by operation, and as graphs
                torch.cuda.set_sync_debug_mode('error')
            (prediction,) = estimator.predict([image], keep_on_device=True)
            aligned = AlignedFrame(prediction.values, FITTED)
            made = Products(image, prediction, aligned, DISTORTED, SimpleNamespace(**DEFAULTS))
            assert {name for name, _ in ours(made, {*TOPICS})} == {*TOPICS}
    finally:
        torch.cuda.set_sync_debug_mode('default')
