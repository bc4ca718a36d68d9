"""The resampling of DINOv2's position embedding, against bicubic interpolation written out from its definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_anything_ros.network import DepthAnything

GRID = 37


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    encoder = DepthAnything.from_name('v2-small').encoder
    torch.nn.init.normal_(encoder.vit.pos_embed, std=0.3)
    return encoder


def cubic_kernel(x):
    """Keys' kernel with a = -0.75."""
    x, a = np.abs(x), -0.75
    inner = ((a + 2) * x - (a + 3)) * x**2 + 1
    outer = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def resampling_matrix(count):
    """(count, 37): row i holds the weights of the 37 learned values at position i; the edges repeat."""
    scale = (count + 0.1) / GRID
    matrix = np.zeros((count, GRID))
    for i in range(count):
        centre = (i + 0.5) / scale - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[i, np.clip(tap, 0, GRID - 1)] += cubic_kernel(centre - tap)
    return matrix


@pytest.mark.parametrize(('rows', 'columns'), [(18, 24), (37, 49), (27, 66), (1, 5)])
def test_resampling_follows_the_offset_scale(encoder, rows, columns):
    learned = encoder.vit.pos_embed.detach()
    grid = learned[0, 1:].numpy().astype(np.float64).reshape(GRID, GRID, -1)
    expected = np.einsum('ri,cj,ijk->rck', resampling_matrix(rows), resampling_matrix(columns), grid, optimize=True)
    result = encoder.position_embedding(rows, columns).detach()
    assert result.shape == (1, 1 + rows * columns, 384)
    assert torch.equal(result[:, 0], learned[:, 0])
    np.testing.assert_allclose(result[0, 1:].numpy(), expected.reshape(rows * columns, -1), atol=2e-5)


def test_resampling_is_not_the_one_by_size(encoder):
    grid = encoder.vit.pos_embed.detach()[:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))
    by_size = F.interpolate(grid, size=(18, 24), mode='bicubic').flatten(2).transpose(1, 2)
    result = encoder.position_embedding(18, 24).detach()[:, 1:]
    assert (result - by_size).abs().max() > 0.01


def test_trained_size_uses_the_embedding_as_it_is(encoder):
    assert encoder.position_embedding(GRID, GRID) is encoder.vit.pos_embed


def test_resampling_runs_in_float32_under_autocast(encoder):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = encoder.position_embedding(18, 24)
    assert torch.equal(result, encoder.position_embedding(18, 24))
