"""Official weights by the names they have on the hub, and what is said of weights that do not fit."""

import re

import pytest
import torch

from depth_anything_ros.network import ARCHITECTURES, DepthAnything, StateDictMismatchError
from depth_anything_ros.network.state_dict import official_name


def official_shapes(architecture):
    """Names and shapes in the official file of a network with plain feed-forward layers."""
    width, features = architecture.width, architecture.features
    shapes = {
        'pretrained.cls_token': (1, 1, width),
        'pretrained.pos_embed': (1, 1370, width),
        'pretrained.mask_token': (1, width),
    }

    def layer(name, *weight):
        shapes[f'{name}.weight'] = weight
        shapes[f'{name}.bias'] = weight[:1]

    layer('pretrained.patch_embed.proj', width, 3, 14, 14)
    for index in range(architecture.blocks):
        block = f'pretrained.blocks.{index}'
        layer(f'{block}.norm1', width)
        layer(f'{block}.attn.qkv', 3 * width, width)
        layer(f'{block}.attn.proj', width, width)
        layer(f'{block}.norm2', width)
        layer(f'{block}.mlp.fc1', 4 * width, width)
        layer(f'{block}.mlp.fc2', width, 4 * width)
        shapes[f'{block}.ls1.gamma'] = shapes[f'{block}.ls2.gamma'] = (width,)
    layer('pretrained.norm', width)
    for index, channels in enumerate(architecture.channels):
        layer(f'depth_head.projects.{index}', channels, width, 1, 1)
        shapes[f'depth_head.scratch.layer{index + 1}_rn.weight'] = (features, channels, 3, 3)
    for index, kernel in ((0, 4), (1, 2), (3, 3)):
        channels = architecture.channels[index]
        layer(f'depth_head.resize_layers.{index}', channels, channels, kernel, kernel)
    for level in (1, 2, 3, 4):
        block = f'depth_head.scratch.refinenet{level}'
        layer(f'{block}.out_conv', features, features, 1, 1)
        for convolution in ('resConfUnit1.conv1', 'resConfUnit1.conv2', 'resConfUnit2.conv1', 'resConfUnit2.conv2'):
            layer(f'{block}.{convolution}', features, features, 3, 3)
    layer('depth_head.scratch.output_conv1', features // 2, features, 3, 3)
    layer('depth_head.scratch.output_conv2.0', 32, features // 2, 3, 3)
    layer('depth_head.scratch.output_conv2.2', 1, 32, 1, 1)
    return shapes


def official_weights(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = official_shapes(ARCHITECTURES[name])
    return {key: 0.05 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture(scope='module')
def weights():
    return official_weights('v2-small')


@pytest.fixture
def model():
    return DepthAnything.from_name('v2-small').eval()


def output(model):
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 3 * 28 * 42).reshape(1, 3, 28, 42))


def test_official_file_has_as_many_names_as_published(weights):
    assert len(weights) == 239


def test_official_weights_load_and_count_as_trained(model, weights):
    model.load_official_state_dict(weights)
    assert model.source.trained
    assert model.source.name == 'v2-small'
    ours = model.state_dict()
    assert all(torch.equal(tensor, weights[official_name(name, model.architecture)]) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ('official', 'ours'),
    [
        ('depth_head.scratch.layer2_rn.weight', 'head.lateral.1.weight'),
        ('depth_head.scratch.refinenet1.resConfUnit1.conv2.bias', 'head.fusion.0.merge.conv2.bias'),
        ('depth_head.scratch.refinenet3.resConfUnit2.conv1.weight', 'head.fusion.2.refine.conv1.weight'),
        ('depth_head.scratch.refinenet4.out_conv.weight', 'head.fusion.3.out.weight'),
        ('depth_head.resize_layers.3.weight', 'reassemble.resample.3.weight'),
        ('depth_head.scratch.output_conv2.2.bias', 'head.output.bias'),
        ('pretrained.blocks.7.ls1.gamma', 'encoder.vit.blocks.7.ls1.gamma'),
    ],
)
def test_names_mean_the_right_layer(official, ours):
    assert official_name(ours, ARCHITECTURES['v2-small']) == official


@pytest.mark.usefixtures('without_memory')
def test_giant_has_the_names_of_gated_layers():
    giant = ARCHITECTURES['v2-giant']
    tensors = DepthAnything(giant).state_dict()
    shapes = {official_name(name, giant): tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes['pretrained.blocks.39.mlp.w12.weight'] == (8192, 1536)
    assert shapes['pretrained.blocks.39.mlp.w3.weight'] == (1536, 4096)
    # The published 631, less the mask token and the four tensors of the merge that is not there.
    assert len(shapes) == 631 - 5


@pytest.mark.parametrize(
    'wrap',
    [
        lambda weights: {'model': weights, 'optimizer': {}, 'epoch': 3},
        lambda weights: {'state_dict': weights},
        lambda weights: {f'module.{name}': tensor for name, tensor in weights.items()},
        lambda weights: {'model': {f'module.{name}': tensor for name, tensor in weights.items()}},
    ],
    ids=['training', 'lightning', 'distributed', 'metric training'],
)
def test_wrapped_weights_load(model, weights, wrap):
    model.load_official_state_dict(weights)
    expected = output(model)
    other = DepthAnything.from_name('v2-small').eval()
    other.load_official_state_dict(wrap(weights))
    assert torch.equal(output(other), expected)


def test_unused_tensors_are_not_needed(model, weights):
    unused = ('mask_token', 'refinenet4.resConfUnit1')
    model.load_official_state_dict({k: v for k, v in weights.items() if not any(word in k for word in unused)})


def test_weights_of_another_size_are_recognised(model):
    before = output(model)
    with pytest.raises(StateDictMismatchError) as refusal:
        model.load_official_state_dict(official_weights('v1-base'))
    message = str(refusal.value)
    assert "'pretrained.cls_token' has shape (1, 1, 768), expected (1, 1, 384)" in message
    assert re.search(r', and \d+ more; they hold', message)
    assert 'width 768 with 12 blocks, as in v2-base, v1-base' in message
    assert torch.equal(output(model), before)
    assert not model.source.trained


def test_missing_tensor_is_named(model, weights):
    incomplete = {k: v for k, v in weights.items() if k != 'depth_head.projects.2.bias'}
    with pytest.raises(StateDictMismatchError, match=r"'depth_head\.projects\.2\.bias' is missing$"):
        model.load_official_state_dict(incomplete)


def test_unknown_tensor_is_named(model, weights):
    with pytest.raises(StateDictMismatchError, match=r"'pretrained\.register_tokens' is unknown"):
        model.load_official_state_dict({**weights, 'pretrained.register_tokens': torch.zeros(1, 4, 384)})


def test_value_that_is_no_tensor_is_named(model, weights):
    with pytest.raises(StateDictMismatchError, match=r"'pretrained\.norm\.bias' is a str, expected a tensor"):
        model.load_official_state_dict({**weights, 'pretrained.norm.bias': 'x'})


@pytest.mark.parametrize(
    ('name', 'guess'),
    [
        ('backbone.embeddings.cls_token', 'Hugging Face transformers'),
        ('core.core.pretrained.cls_token', 'ZoeDepth'),
        ('blocks.0.norm1.weight', 'bare DINOv2 encoder'),
        ('layer1.0.conv1.weight', 'do not look like weights of Depth Anything'),
    ],
)
def test_foreign_weights_are_recognised(model, name, guess):
    with pytest.raises(StateDictMismatchError, match=guess):
        model.load_official_state_dict({name: torch.zeros(1)})


@pytest.mark.parametrize('nothing', [{}, {0: torch.zeros(1)}])
def test_no_weights_at_all_are_refused(model, nothing):
    with pytest.raises(StateDictMismatchError, match=r"'pretrained\.cls_token' is missing"):
        model.load_official_state_dict(nothing)
