"""Networks, pictures and a cache of their own for the tests of the estimation."""

import numpy as np
import pytest
import torch


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, which is not there yet."""
    folder = tmp_path / 'cache'
    monkeypatch.setenv('DEPTH_ANYTHING_CACHE', str(folder))
    return folder


@pytest.fixture(scope='session')
def lite():
    """Make a small network with random weights; equal seeds give equal ones."""
    from depth_anything_ros.network import DepthAnything

    def make(seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return DepthAnything.from_name('lite0').eval()

    return make


@pytest.fixture(scope='session')
def picture():
    """Make a picture, uint8 RGB (H, W, 3)."""

    def make(height=48, width=64, seed=0):
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)

    return make
