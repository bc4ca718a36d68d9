"""The network made ready for reduced precision, against the same one under autocast alone."""

import pytest
import torch

from depth_anything_ros.network import DepthAnything, reduced


def trained(name):
    """A network whose LayerScale scales, as of one that has learnt."""
    torch.manual_seed(0)
    network = DepthAnything.from_name(name).eval()
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.endswith('gamma'):
            torch.nn.init.uniform_(parameter, 0.2, 2.0)
    return network


def under_autocast(network, image, dtype):
    reduced_precision = dtype != torch.float32
    with torch.inference_mode(), torch.autocast(image.device.type, dtype=dtype, enabled=reduced_precision):
        return network(image).float()


def deviation(found, expected):
    return ((found - expected).abs().mean() / expected.abs().mean()).item()


@pytest.mark.parametrize('name', ['v2-small', 'v2-small-indoor', 'tiny'])
def test_it_says_what_the_network_says_under_autocast(device, name):
    network = trained(name).to(device)
    image = torch.randn(1, 3, 2 * network.multiple, 3 * network.multiple, device=device)
    exact = under_autocast(network, image, torch.float32)
    ready = reduced(network, torch.bfloat16)
    found, expected = (under_autocast(one, image, torch.bfloat16) for one in (ready, network))
    # As far from what is exact as autocast alone, within chance, and not by what a scale left out would make.
    assert deviation(found, exact) < 2 * deviation(expected, exact) + 1e-4
    assert deviation(found, exact) < 0.02


def test_the_network_itself_stays_as_it_is():
    network = trained('v2-small')
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ready = reduced(network, torch.bfloat16)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())
    size = {one: sum(value.nbytes for value in one.state_dict().values()) for one in (network, ready)}
    assert size[ready] < 0.55 * size[network]
