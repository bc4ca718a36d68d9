"""An alignment says the same of tensors as of arrays."""

import numpy as np
import pytest
import torch

from depth_anything_ros.alignment import Alignment
from depth_anything_ros.alignment.field import basis_over_image
from depth_anything_ros.alignment.tensors import alignment_numbers, depth_of_inverse, inverse_depth, sigma_of_inverse
from depth_anything_ros.estimation.transfer import numbers_to_device

KNOWN = {'covariance': (4e-4, -1e-5, 1e-4), 'noise': (0.01, 0.02)}
ALIGNMENTS = {
    'constant': Alignment(0.02, 0.05),
    'fitted': Alignment(0.02, 0.05, **KNOWN),
    'negative shift': Alignment(0.02, -0.4, **KNOWN),
    'no shift': Alignment(0.5, 0.0),
    'field of order 1': Alignment(0.02, 0.05, **KNOWN, field=(0.2, -0.1)),
    'field of order 2': Alignment(0.02, -0.05, **KNOWN, field=(0.1, -0.1, 0.05, 0.02, -0.04)),
}


@pytest.fixture(params=ALIGNMENTS.values(), ids=ALIGNMENTS)
def alignment(request):
    return request.param


@pytest.fixture
def disparity():
    """From far below zero to large, with zeros and what is not finite."""
    rng = np.random.default_rng(0)
    values = rng.uniform(-30.0, 60.0, (30, 40)).astype(np.float32)
    values[:3] = 0.0
    values[3, :6] = np.nan, np.inf, -np.inf, 1e-30, -1e-30, 1e12
    return values


def on_device(alignment, disparity, device):
    numbers = numbers_to_device(alignment_numbers(alignment), device)
    terms = len(alignment.field)
    basis = torch.tensor(basis_over_image(terms, *disparity.shape), device=device) if terms else None
    return inverse_depth(torch.from_numpy(disparity).to(device), numbers, basis), numbers


def test_depth_and_its_marks(device, alignment, disparity):
    found = depth_of_inverse(*on_device(alignment, disparity, device)).cpu().numpy()
    expected = alignment.depth(disparity)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_sigma(device, alignment, disparity):
    if alignment.variance is None:
        assert alignment.sigma(disparity) is None
        return
    found = sigma_of_inverse(*on_device(alignment, disparity, device)).cpu().numpy()
    with np.errstate(invalid='ignore'):
        expected = alignment.sigma(disparity)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
