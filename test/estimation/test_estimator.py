"""Images in, predictions out."""

import numpy as np
import pytest
import torch

from depth_anything_ros.estimation import (
    BackendUnavailableError,
    DepthEstimator,
    DeviceMemoryError,
    DeviceUnavailableError,
    ImageShapeError,
    NonFinitePredictionError,
    PrecisionUnavailableError,
)
from depth_anything_ros.estimation.backends import torch_backends
from depth_anything_ros.estimation.backends.torch_backends import EagerBackend
from depth_anything_ros.estimation.devices import resolve_device
from depth_anything_ros.network import DepthAnything

INPUT_SIZE = 56


@pytest.fixture(scope='module')
def estimator():
    return DepthEstimator('untrained-small', device='cpu', precision='fp32', backend='torch', input_size=INPUT_SIZE)


def picture(height=60, width=90, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_values_have_the_size_of_the_image(estimator):
    prediction = estimator(picture())
    assert prediction.values.shape == (60, 90)
    assert prediction.values.dtype == np.float32
    assert prediction.kind == 'disparity'
    assert prediction.network_size == (56, 84)
    assert np.isfinite(prediction.values).all()
    assert prediction.timings.network_s > 0.0


def test_values_at_network_size_are_what_the_others_are_made_of(estimator):
    image = picture()
    small = estimator(image, at_network_size=True).values
    assert small.shape == (56, 84)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(small)[None, None], size=(60, 90), mode='bilinear', align_corners=True
    )
    np.testing.assert_allclose(estimator(image).values, large[0, 0], atol=1e-5)


def test_the_result_is_the_networks_own_on_the_official_preprocessing(estimator):
    network = DepthAnything.from_name('v2-small')
    ours = DepthEstimator(network, device='cpu', precision='fp32', backend='torch', input_size=INPUT_SIZE)
    image = picture(56, 70)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    # At this size there is nothing to resize.
    batch = torch.from_numpy(((image / 255.0 - mean) / std).transpose(2, 0, 1)[None]).float()
    with torch.inference_mode():
        expected = network(batch)[0]
    np.testing.assert_allclose(ours(image).values, expected, rtol=1e-4, atol=1e-5)


def test_a_batch_gives_what_its_images_give_alone(estimator):
    images = [picture(seed=seed) for seed in range(3)]
    for together, image in zip(estimator.predict(images), images, strict=True):
        np.testing.assert_allclose(together.values, estimator(image).values, rtol=1e-4, atol=1e-5)


def test_sizes_may_change_from_call_to_call(estimator):
    for size in ((60, 90), (90, 60), (33, 47), (200, 100)):
        assert estimator(picture(*size)).values.shape == size


def test_reversed_and_strided_views_are_taken_as_they_look(estimator):
    image = picture()
    np.testing.assert_array_equal(estimator(image[::-1]).values, estimator(np.ascontiguousarray(image[::-1])).values)


@pytest.mark.parametrize(
    'wrong',
    [
        np.zeros((60, 90), np.uint8),
        np.zeros((60, 90, 4), np.uint8),
        np.zeros((60, 90, 3), np.float32),
        np.zeros((0, 90, 3), np.uint8),
        np.zeros((2, 90, 3), np.uint8),
        'a path',
    ],
    ids=['gray', 'alpha', 'float', 'empty', 'ribbon', 'string'],
)
def test_what_is_no_image_is_refused(estimator, wrong):
    with pytest.raises(ImageShapeError):
        estimator(wrong)


def test_a_batch_of_two_sizes_is_refused(estimator):
    with pytest.raises(ImageShapeError, match='one size'):
        estimator.predict([picture(), picture(61, 90)])
    with pytest.raises(ImageShapeError, match='one size'):
        estimator.predict([])


def test_a_metric_network_predicts_depth_within_its_range(constant_networks):
    network = constant_networks('v2-small-indoor', 0.0)
    prediction = DepthEstimator(network, device='cpu', precision='fp32', backend='torch', input_size=INPUT_SIZE)(
        picture()
    )
    assert prediction.kind == 'depth'
    np.testing.assert_allclose(prediction.values, 10.0, rtol=1e-5)  # sigmoid(0) * 20 m
    np.testing.assert_allclose(prediction.nearness, 0.1, rtol=1e-5)


def test_only_a_metric_estimator_knows_a_focal_length_and_an_end_of_its_depth(estimator, constant_networks):
    metric = DepthEstimator(
        constant_networks('v2-small-outdoor', 0.0), device='cpu', backend='torch', input_size=INPUT_SIZE
    )
    assert (metric.canonical_focal_px, metric.max_depth_m) == (pytest.approx(1003.34), 80.0)
    assert (estimator.canonical_focal_px, estimator.max_depth_m) == (None, None)


def test_a_network_that_gives_nan_is_an_error_not_a_depth(constant_networks):
    network = constant_networks('v2-small', float('nan'))
    with pytest.raises(NonFinitePredictionError, match='fp32'):
        DepthEstimator(network, device='cpu', precision='fp32', backend='torch', input_size=INPUT_SIZE)(picture())


def test_where_fp32_gives_nan_the_error_speaks_of_fp32_and_not_of_what_was_to_come(constant_networks, monkeypatch):
    monkeypatch.setattr(torch_backends, 'cpu_computes_bf16', lambda: True)
    network = constant_networks('v2-small', float('nan'))
    with pytest.raises(NonFinitePredictionError, match=r'precision fp32\): check the weights'):
        DepthEstimator(network, device='cpu', backend='torch', input_size=INPUT_SIZE)(picture())


def test_bf16_on_the_cpu_is_near_fp32(estimator):
    reduced = DepthEstimator('untrained-small', device='cpu', precision='bf16', backend='torch', input_size=INPUT_SIZE)
    full, image = estimator, picture()
    assert reduced.precision == 'bf16'
    np.testing.assert_allclose(reduced(image).values, full(image).values, rtol=0.05, atol=0.02)


def test_openvino_gives_what_torch_gives():
    pytest.importorskip('openvino', reason='needs the extra openvino')
    network = DepthAnything.from_name('v2-small')
    # Strong enough that another resampling of the position embedding would show.
    torch.nn.init.normal_(network.encoder.vit.pos_embed, std=0.3)
    image = picture(60, 90)
    ours, other = (
        DepthEstimator(network, device='cpu', precision='fp32', backend=name, input_size=INPUT_SIZE)(image).values
        for name in ('torch', 'openvino')
    )
    assert np.abs(ours - other).max() < 1e-3 * np.ptp(ours)


@pytest.mark.parametrize(
    ('settings', 'error', 'text'),
    [
        ({'device': 'cuda:77'}, DeviceUnavailableError, 'cuda:77'),
        ({'device': 'abacus'}, DeviceUnavailableError, 'abacus'),
        ({'precision': 'fp16', 'device': 'cpu'}, PrecisionUnavailableError, 'CUDA'),
        ({'precision': 'int3'}, PrecisionUnavailableError, 'int3'),
        ({'backend': 'steam'}, BackendUnavailableError, 'steam'),
        ({'input_size': 500}, ValueError, 'nearest is 504'),
        ({'input_size': -14}, ValueError, 'multiple of 14 for v2-small'),
        ({'model': 'tiny', 'input_size': 252}, ValueError, 'multiple of 32 for tiny.*256, and 0 takes .* own, 256'),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_reason(settings, error, text):
    with pytest.raises(error, match=text):
        DepthEstimator(**{'model': 'untrained-small', **settings})


@pytest.mark.parametrize(('model', 'size'), [('tiny', 256), ('untrained-small', 518)])
def test_without_an_input_size_a_network_sees_what_it_was_trained_at(model, size):
    estimator = DepthEstimator(model, device='cpu', backend='torch')
    assert estimator.input_size == size
    assert min(estimator(picture()).network_size) == size


def out_of_memory(*_, **__):
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')


def test_a_network_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr('depth_anything_ros.estimation.estimator.make_backend', out_of_memory)
    with pytest.raises(DeviceMemoryError, match=r"'cpu' is out of memory .*2\.00 GiB.*: take a smaller input_size"):
        DepthEstimator('tiny', device='cpu')


@pytest.mark.parametrize('keep_on_device', [False, True])
def test_images_that_do_not_fit_are_an_error_that_holds_nothing_of_them(estimator, monkeypatch, keep_on_device):
    with monkeypatch.context() as patch:
        patch.setattr(EagerBackend, '__call__', out_of_memory)
        with pytest.raises(DeviceMemoryError, match='take a smaller input_size') as error:
            estimator.predict([picture()], keep_on_device=keep_on_device)
    # What torch's own error leads to would not be given back while somebody deals with this one.
    assert error.value.__context__ is None
    assert np.isfinite(estimator(picture()).values).all()


@pytest.fixture
def strange_gpu(monkeypatch):
    """A GPU that torch finds and has no code for."""
    ones = torch.ones

    def refuse(*size, device=None, **options):
        if torch.device(device or 'cpu').type == 'cuda':
            raise RuntimeError('CUDA error: no kernel image is available for execution on the device\nCompile with ...')
        return ones(*size, device=device, **options)

    monkeypatch.setattr(torch, 'ones', refuse)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)


def test_auto_takes_the_cpu_where_the_gpu_does_not_compute_and_says_why(strange_gpu, caplog):
    assert resolve_device('auto').type == 'cpu'
    assert 'no kernel image is available for execution on the device)' in caplog.text


def test_a_named_gpu_that_does_not_compute_is_refused_with_the_reason(strange_gpu):
    with pytest.raises(DeviceUnavailableError, match=r"'cuda:0' cannot be used \(CUDA error: no kernel image"):
        resolve_device('cuda:0')


def test_auto_without_a_gpu_is_the_cpu_and_no_matter_for_the_log(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert resolve_device('auto').type == 'cpu'
    assert not caplog.records


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
@pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
def test_the_gpu_gives_what_the_cpu_gives(estimator, precision):
    on_gpu = DepthEstimator('untrained-small', device='cuda', precision=precision, input_size=INPUT_SIZE)
    image = picture()
    tolerance = 1e-3 if precision == 'fp32' else 0.05
    np.testing.assert_allclose(on_gpu(image).values, estimator(image).values, rtol=tolerance, atol=tolerance)
