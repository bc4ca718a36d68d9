"""What all tests share."""

import os

import pytest
import torch

# A test never reaches for a network.
os.environ.setdefault('HF_HUB_OFFLINE', '1')
# Tiny networks on a busy machine: threads that wait for each other cost more than they bring (3 to 10 times).
os.environ.setdefault('OMP_NUM_THREADS', '1')
torch.set_num_threads(1)


@pytest.fixture(scope='session')
def constant_networks():
    """Networks whose weights make the output one constant everywhere, whatever the image: truth to test against."""
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


@pytest.fixture(scope='session')
def spoiled_by_int8():
    """Makes `tiny` with channels that nothing uses and whose values leave 8 bits none for the others."""

    from depth_anything_ros import checkpoints

    def make():
        network = checkpoints.load('tiny')
        with torch.no_grad():
            for block in network.head.fusion:
                block.refine.conv1.bias[0] += 1e6
                block.refine.conv2.weight[:, 0] = 0
        return network

    return make


@pytest.fixture(
    params=[
        'cpu',
        pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')),
    ]
)
def device(request):
    """Each device that tensors may be on."""
    return torch.device(request.param)


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory):
    """No test writes into the user's cache; what one compiles, those after it find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DEPTH_ANYTHING_CACHE', str(tmp_path_factory.mktemp('compiled')))
        yield
