"""What all tests share."""

import os

import pytest

# A test never reaches for a network.
os.environ.setdefault('HF_HUB_OFFLINE', '1')


@pytest.fixture(scope='session')
def constant_networks():
    """Networks whose weights make the output one constant everywhere, whatever the image: truth to test against."""
    import torch

    from depth_anything_ros.network import DepthAnything

    def make(name: str, logit: float) -> DepthAnything:
        """The last layer's bias is logit: relative networks give max(logit, 0), metric ones sigmoid * max_depth."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = DepthAnything.from_name(name).eval()
        last = [module for module in network.head.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(logit)
        return network

    return make
