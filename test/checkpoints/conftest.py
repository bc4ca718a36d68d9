"""Files as they lie on the hub, with random weights, and a machine without any of them."""

import pytest
import torch
from huggingface_hub import constants

from depth_anything_ros.network import DepthAnything
from depth_anything_ros.network.state_dict import official_name


@pytest.fixture
def use_hub(monkeypatch):
    """Point the hub's client at another address."""

    def use(address):
        monkeypatch.setattr(constants, 'ENDPOINT', address)
        template = f'{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)

    return use


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch, use_hub):
    """No checkpoint folder, an empty hub cache, and a hub that is not there."""
    monkeypatch.setenv('DEPTH_ANYTHING_CHECKPOINTS', str(tmp_path / 'checkpoints'))
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    use_hub('http://127.0.0.1:9')


@pytest.fixture(scope='session')
def small():
    """A network with weights that no seed of the package draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        return DepthAnything.from_name('v2-small').eval()


@pytest.fixture(scope='session')
def official_weights(small):
    """The weights of `small` under their official names."""
    weights = {official_name(name, small.architecture): tensor for name, tensor in small.state_dict().items()}
    return {**weights, 'pretrained.mask_token': torch.zeros(1, 384)}


@pytest.fixture(scope='session')
def official_file(official_weights, tmp_path_factory):
    """A .pth file like those on the hub."""
    path = tmp_path_factory.mktemp('official') / 'depth_anything_v2_vits.pth'
    torch.save(official_weights, path)
    return path


@pytest.fixture(scope='session')
def output():
    """What a network makes of one small picture: equal for equal weights."""
    image = torch.linspace(-1, 1, 3 * 28 * 42).reshape(1, 3, 28, 42)

    def run(model):
        with torch.no_grad():
            return model(image)

    return run
