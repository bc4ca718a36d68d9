"""The model in the package: what may be relied on of it, and that nothing else is needed."""

import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage import data

from depth_anything_ros.checkpoints import (
    DEFAULT_MODEL,
    CheckpointUnavailableError,
    CorruptCheckpointError,
    catalogue,
    load,
    loading,
)
from depth_anything_ros.estimation import DepthEstimator
from depth_anything_ros.network import ARCHITECTURES


@pytest.fixture(scope='module')
def tiny():
    return load('tiny')


def ranks(values):
    order = np.empty(values.size)
    order[np.argsort(values, kind='stable')] = np.arange(values.size)
    return order


def test_it_is_the_default_and_the_only_one_in_the_package():
    assert DEFAULT_MODEL == 'tiny'
    assert [entry.name for entry in catalogue() if entry.packaged] == ['tiny']


def test_it_is_small_trained_and_free(tiny):
    assert tiny.source.checkpoint.stat().st_size <= 12e6
    assert sum(parameter.numel() for parameter in tiny.parameters()) <= 6e6
    assert (tiny.source.trained, tiny.source.licence) == (True, 'Apache-2.0')
    assert {str(tensor.dtype) for tensor in tiny.parameters()} == {'torch.float32'}
    assert tiny.architecture == ARCHITECTURES['tiny']


def test_it_loads_where_there_is_no_network_and_no_home(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise AssertionError('a socket was opened')

    monkeypatch.setattr(socket, 'socket', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setenv('HOME', str(tmp_path / 'nowhere'))
    load('tiny')
    assert list(tmp_path.iterdir()) == []


def test_loading_it_imports_neither_timm_nor_the_hubs_client():
    """Each would make the node start seconds later."""
    code = "import sys; from depth_anything_ros.checkpoints import load; load('tiny')\n"
    code += "print(sorted({'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('name', ['tiny', None])
def test_a_copy_of_it_loads_by_path(tiny, tmp_path, name):
    copy = tmp_path / 'copy.safetensors'
    copy.write_bytes(tiny.source.checkpoint.read_bytes())
    assert load(name, copy).source.sha256 == tiny.source.sha256


def test_a_package_without_its_weights_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, '_WEIGHTS', tmp_path)
    with pytest.raises(CheckpointUnavailableError, match=r'tiny\.safetensors is not there.*install it again'):
        load('tiny')


def test_one_changed_bit_of_it_is_noticed(tiny, monkeypatch, tmp_path):
    content = bytearray(tiny.source.checkpoint.read_bytes())
    content[-1] ^= 1
    (tmp_path / 'tiny.safetensors').write_bytes(content)
    monkeypatch.setattr(loading, '_WEIGHTS', tmp_path)
    with pytest.raises(CorruptCheckpointError, match=r'tiny\.safetensors is damaged.*install it again'):
        load('tiny')


def test_its_disparity_of_a_photograph_is_finite_and_not_flat(tiny):
    disparity = DepthEstimator(tiny, device='cpu', precision='fp32', backend='torch')(data.astronaut()).values
    assert np.isfinite(disparity).all()
    assert disparity.min() >= 0.0
    assert disparity.std() > 0.01 * disparity.mean()


def test_what_is_near_in_a_photograph_is_near_to_it(tiny):
    """Spearman's correlation with the true disparity of a real stereo pair; reversed it would be negative."""
    image, _, truth = data.stereo_motorcycle()
    known = np.isfinite(truth)
    disparity = DepthEstimator(tiny, device='cpu', precision='fp32', backend='torch')(image).values
    assert np.corrcoef(ranks(disparity[known]), ranks(truth[known]))[0, 1] > 0.5


def turned(values, degrees):
    height, width = values.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(values, turn, (width, height))


def middle(values, height, width):
    top, left = (values.shape[0] - height) // 2, (values.shape[1] - width) // 2
    return np.ascontiguousarray(values[top : top + height, left : left + width])


@pytest.mark.parametrize('angle', [-20.0, 20.0])
def test_a_camera_that_is_not_upright_sees_the_same_world(tiny, angle):
    """The correlation of the disparity of a turned picture, turned back, with the true one."""
    estimate = DepthEstimator(tiny, device='cpu', precision='fp32', backend='torch')
    picture, _, truth = data.stereo_motorcycle()
    tilted = estimate(middle(turned(picture, angle), 330, 440)).values
    seen, true = (middle(values, 180, 240).ravel() for values in (turned(tilted, -angle), truth))
    known = np.isfinite(true)
    # .61 and .68, and .57 upright; of a network that had seen hardly any such view .51, .49 and .50.
    assert np.corrcoef(seen[known], true[known])[0, 1] > 0.6


def test_a_camera_that_is_not_upright_sees_what_an_upright_one_does(tiny):
    """The correlation of the disparity of a turned picture, turned back, with that of the upright one."""
    estimate = DepthEstimator(tiny, device='cpu', precision='fp32', backend='torch')
    found = []
    for picture in (data.stereo_motorcycle()[0], data.coffee(), data.astronaut()):
        seen, kept = ([round(share * side) for side in picture.shape[:2]] for share in (0.66, 0.36))
        upright = middle(estimate(middle(picture, *seen)).values, *kept)
        for angle in (-20.0, 20.0):
            tilted = turned(estimate(middle(turned(picture, angle), *seen)).values, -angle)
            found.append(np.corrcoef(middle(tilted, *kept).ravel(), upright.ravel())[0, 1])
    # .92; of a network that had seen hardly any such view .885.
    assert np.mean(found) > 0.905
