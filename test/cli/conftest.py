"""The command line in process, with a network as small as it gets."""

import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from depth_anything_ros.cli import pipeline
from depth_anything_ros.cli.main import main
from depth_anything_ros.estimation.backends.torch_backends import EagerBackend

MODEL_OPTIONS = ('--model', 'untrained-small', '--input-size', '42', '--backend', 'torch', '--precision', 'fp32')


_DepthEstimator = pipeline.DepthEstimator


@functools.cache
def _estimator(*args, **kwargs):
    return _DepthEstimator(*args, **kwargs)


@pytest.fixture
def run(monkeypatch):
    """Run a command with the small model and return its exit code; the model is made once for all tests."""
    monkeypatch.setattr(pipeline, 'DepthEstimator', _estimator)

    def run_command(command, *args, model=MODEL_OPTIONS):
        return main([command, *map(str, args), *model])

    return run_command


@pytest.fixture
def predict():
    """What the small model says of an image, uint8 RGB (H, W, 3): disparity, float32 (H, W)."""
    return lambda image: (
        _estimator('untrained-small', None, 'auto', 'fp32', 'torch', 42, accept_license=False)(image).values
    )


@pytest.fixture
def crowded_gpu(monkeypatch):
    """There is no memory for the first image that the model is given, nor for its second try."""
    call, calls = EagerBackend.__call__, itertools.count()

    def crowded(self, batch):
        if next(calls) < 2:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
        return call(self, batch)

    monkeypatch.setattr(EagerBackend, '__call__', crowded)


@pytest.fixture
def picture():
    """Make a picture, uint8 RGB (H, W, 3), that differs by seed: smooth, so that JPEG changes little."""

    def make(seed=0, height=48, width=64):
        v, u = np.mgrid[:height, :width]
        channels = [np.sin(u / (5 + seed) + shift) + np.cos(v / (7 + seed) + shift) for shift in range(3)]
        return np.uint8(np.clip(np.stack(channels, axis=-1) * 60 + 128, 0, 255))

    return make


@pytest.fixture(scope='session')
def shared_data():
    """The folder of real data, where there is one."""
    folder = Path(__file__).resolve().parents[2].parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}')
    return folder
