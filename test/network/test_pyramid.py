"""The convolutional networks: the same head and the same contract on another encoder."""

import pytest
import timm
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import DepthEstimator
from depth_anything_ros.network import ARCHITECTURES, DepthAnything
from depth_anything_ros.network.pyramid import PyramidEncoder

LITE = ('lite0', 'lite1', 'lite2', 'tiny-deep', 'tiny')


@pytest.fixture
def lite0():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DepthAnything.from_name('lite0').eval()


@pytest.mark.parametrize('name', LITE)
def test_the_table_says_what_the_encoder_gives(name):
    network = DepthAnything.from_name(name).eval()
    maps = network.encoder(torch.zeros(1, 3, 64, 96))
    assert tuple(level.shape[1] for level in maps) == network.architecture.channels
    assert [tuple(level.shape[-2:]) for level in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert sum(p.numel() for p in network.parameters()) < 6e6


@pytest.mark.parametrize('name', LITE)
def test_the_encoder_is_timms_to_the_last_bit(name):
    """The names, and with the same weights the output."""
    architecture = ARCHITECTURES[name]
    ours = PyramidEncoder(architecture.encoder, architecture.taps, architecture.omitted).levels.eval()
    theirs = timm.create_model(architecture.encoder, features_only=True, out_indices=architecture.taps).eval()
    for block in architecture.omitted:
        stage, number = map(int, block.split('.'))
        theirs.blocks[stage][number] = torch.nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    image = torch.randn(2, 3, 64, 96)
    for level, expected in zip(ours(image), theirs(image), strict=True):
        assert torch.equal(level, expected)


@pytest.mark.parametrize('name', ['2.0', '0.0', '6.0', '2.9', '2', '', 'x.y', '2.1.conv_pw'])
def test_a_block_without_a_skip_cannot_be_left_out(name):
    """What comes before it does not fit what comes after."""
    with pytest.raises(ValueError, match='no block with a skip'):
        PyramidEncoder('tf_efficientnet_lite2', (1, 2, 3, 4), (name,))


def test_random_weights_start_as_timms_do():
    name, taps = ARCHITECTURES['lite0'].encoder, ARCHITECTURES['lite0'].taps
    theirs = timm.create_model(name, features_only=True, out_indices=taps).state_dict()
    for key, tensor in PyramidEncoder(name, taps).levels.state_dict().items():
        if tensor.dim() == 4:
            assert tensor.std().item() == pytest.approx(theirs[key].std().item(), rel=0.3), key


def test_the_output_has_the_size_of_the_image_and_another_image_is_refused(lite0):
    assert lite0(torch.randn(2, 3, 64, 96)).shape == (2, 64, 96)
    with pytest.raises(ValueError, match='multiples of 32'):
        lite0(torch.randn(1, 3, 70, 98))


@pytest.mark.parametrize(
    ('name', 'expected'), [('lite2', [(32, 48), (64, 96), (64, 96)]), ('tiny', [(16, 24), (32, 48), (32, 48)])]
)
def test_the_last_convolutions_work_at_the_output_stride(name, expected):
    """Nobody sees it but by the time it takes: the output has the image's size in both."""
    network = DepthAnything.from_name(name).eval()
    seen = []
    for layer in (network.head.smooth, network.head.hidden, network.head.output):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    assert network(torch.randn(1, 3, 64, 96)).shape == (1, 64, 96)
    assert seen == expected


def test_training_mode_leaves_the_statistics_of_the_batch_normalisation_alone(lite0):
    before = {name: value.clone() for name, value in lite0.state_dict().items() if 'running' in name}
    image = torch.randn(2, 3, 64, 64)
    trained = lite0.train()(image)
    assert before
    assert all(torch.equal(lite0.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(trained, lite0.eval()(image))


def test_the_encoder_sees_images_normalised_as_it_was_trained(lite0):
    """Black and white are -1 and 1 to EfficientNet-Lite, whatever the normalisation of the other networks."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    seen = []
    lite0.encoder.levels.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for value in (0.0, 1.0):
        lite0((torch.full((1, 3, 32, 32), value) - mean) / deviation)
    assert torch.allclose(seen[0], torch.full_like(seen[0], -1.0), atol=1e-5)
    assert torch.allclose(seen[1], torch.full_like(seen[1], 1.0), atol=1e-5)


def test_a_saved_network_comes_back_by_its_file_alone(lite0, tmp_path):
    path = tmp_path / 'own.safetensors'
    checkpoints.save(lite0, path)
    again = checkpoints.load(None, path)
    image = torch.randn(1, 3, 64, 64)
    assert again.architecture == ARCHITECTURES['lite0']
    assert torch.equal(again(image), lite0(image))
    assert DepthEstimator(again, input_size=64).source.checkpoint == path
