"""A prediction that stays on its device is an array to who looks at it."""

import numpy as np
import pytest
import torch

from depth_anything_ros.estimation import DepthEstimator, NonFinitePredictionError
from depth_anything_ros.estimation.resident import Resident
from depth_anything_ros.estimation.transfer import images_to_device, to_host


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)


@pytest.fixture
def resident(values, device):
    return Resident(torch.tensor(values, device=device), torch.tensor(True, device=device), 'fp32')


@pytest.mark.parametrize(
    'key',
    [
        np.s_[np.array([0, 6, -1]), np.array([8, 0, 2])],
        np.s_[np.array([[0], [3]]), np.array([1, 2, 2])],
        np.s_[::2, ::3],
        np.s_[::-1],
        np.s_[3],
        np.s_[3, 4],
        np.s_[np.array([], np.intp), np.array([], np.intp)],
        np.s_[np.eye(7, 9, dtype=bool)],
        np.s_[...],
    ],
    ids=str,
)
def test_what_is_indexed_is_what_the_array_has_there(values, resident, key):
    np.testing.assert_array_equal(resident[key], values[key])


def test_an_index_out_of_bounds_is_refused_as_of_an_array(resident):
    with pytest.raises(IndexError, match='out of bounds'):
        resident[np.array([7]), np.array([0])]


def test_arithmetic_with_numbers_stays_on_the_device(values, resident):
    with np.errstate(divide='ignore'):
        changed = np.float32(1.0) / (resident * np.float32(0.5) + np.float32(0.1))
        expected = np.float32(1.0) / (values * np.float32(0.5) + np.float32(0.1))
    assert isinstance(changed, Resident)
    np.testing.assert_allclose(np.asarray(changed), expected, rtol=1e-6)


def test_all_else_is_done_with_an_array(values, resident):
    assert (resident.shape, resident.size, resident.nbytes, resident.ndim) == ((7, 9), 63, 252, 2)
    np.testing.assert_array_equal(np.isfinite(resident), np.isfinite(values))
    np.testing.assert_array_equal(resident > 0.0, values > 0.0)
    np.testing.assert_array_equal(resident + values, values + values)
    np.testing.assert_array_equal(resident.T, values.T)
    assert resident.mean() == values.mean()
    assert np.median(resident) == np.median(values)


@pytest.mark.parametrize('look', [np.asarray, lambda image: image[0, 0], lambda image: np.asarray(image * 2.0)])
def test_who_looks_at_a_prediction_that_is_not_finite_is_told(device, look):
    broken = Resident(torch.full((2, 2), torch.nan, device=device), torch.tensor(False, device=device), 'fp16')
    with pytest.raises(NonFinitePredictionError, match='precision fp16'):
        look(broken)


def test_images_go_up_as_they_look_and_come_down_as_they_are(device):
    images = [np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8) for seed in range(2)]
    images[1] = images[1][::-1]
    images[0].flags.writeable = False
    np.testing.assert_array_equal(to_host(images_to_device(images, device)), np.stack(images))


@pytest.mark.parametrize('at_network_size', [False, True])
def test_what_is_kept_is_what_would_have_come(lite, picture, device, at_network_size):
    estimator = DepthEstimator(lite(), device=device.type, precision='fp32', backend='torch', input_size=64)
    assert estimator.keeps_on_device == (device.type == 'cuda')
    images = [picture(48, 70, seed) for seed in range(2)]
    kept = estimator.predict(images, at_network_size=at_network_size, keep_on_device=True)
    for ours, expected, image in zip(
        kept, estimator.predict(images, at_network_size=at_network_size), images, strict=True
    ):
        np.testing.assert_allclose(np.asarray(ours.values), expected.values, rtol=1e-5, atol=1e-6)
        assert (ours.kind, ours.network_size, ours.timings) == (expected.kind, expected.network_size, None)
        np.testing.assert_array_equal(ours.pixels.cpu(), image)
        assert expected.pixels is None


def test_of_a_batch_only_the_image_that_is_not_finite_is_lost(lite, picture, device):
    estimator = DepthEstimator(lite(), device=device.type, precision='fp32', backend='torch', input_size=64)

    def run(batch):
        output = batch.mean(1)
        output[1] = torch.nan
        return output

    facts = {'device': device, 'precision': 'fp32', '__call__': lambda _, x: run(x), 'release': lambda _: None}
    estimator._backend = type('Broken', (), facts)()
    good, bad = estimator.predict([picture(), picture()], keep_on_device=True)
    assert np.isfinite(np.asarray(good.values)).all()
    with pytest.raises(NonFinitePredictionError):
        bad.values[0, 0]
