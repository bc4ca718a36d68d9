"""The network as a function: shapes, ranges, independence of the batch, and what runs it."""

import pytest
import torch

from depth_anything_ros.network import ARCHITECTURES, DepthAnything


@pytest.fixture(scope='module')
def small():
    torch.manual_seed(0)
    return DepthAnything.from_name('v2-small').eval()


def same_weights(model, name):
    """The network `name` with the weights of `model`."""
    other = DepthAnything(ARCHITECTURES[name]).eval()
    other.load_state_dict(model.state_dict())
    return other


def run(model, image):
    with torch.no_grad():
        return model(image)


@pytest.mark.parametrize(('height', 'width'), [(14, 14), (56, 84), (98, 42)])
def test_output_has_the_size_of_the_input(small, height, width):
    output = run(small, torch.randn(2, 3, height, width))
    assert output.shape == (2, height, width)
    assert output.dtype == torch.float32
    assert (output >= 0).all()


def test_batch_equals_singles(small):
    images = torch.randn(3, 3, 70, 56)
    singles = torch.cat([run(small, image[None]) for image in images])
    torch.testing.assert_close(run(small, images), singles, atol=1e-5, rtol=1e-5)


def test_v1_and_v2_read_the_same_weights_differently(small):
    image = torch.randn(1, 3, 56, 56)
    v2, v1 = run(small, image), run(same_weights(small, 'v1-small'), image)
    assert (v1 - v2).abs().max() > 0.1 * (v2.max() - v2.min())


def test_metric_output_is_metres_within_the_range(small):
    image = torch.randn(1, 3, 56, 56)
    indoor, outdoor = same_weights(small, 'v2-small-indoor'), same_weights(small, 'v2-small-outdoor')
    torch.testing.assert_close(run(outdoor, image), 4 * run(indoor, image))
    for bias, limit in ((-100.0, 0.0), (100.0, 20.0)):
        torch.nn.init.constant_(indoor.head.output.bias, bias)
        torch.testing.assert_close(run(indoor, image), torch.full((1, 56, 56), limit))


@pytest.mark.parametrize('seed', range(3))
def test_untrained_network_reacts_to_its_input(seed):
    torch.manual_seed(seed)
    model = DepthAnything.from_name('v2-small').eval()
    output = run(model, torch.randn(2, 3, 56, 56))
    assert not model.source.trained
    assert (output > 0).all()
    assert output.std() > 1e-3
    assert not torch.allclose(output[0], output[1], atol=1e-4)


def test_every_parameter_is_trained():
    # A parameter without a gradient breaks distributed training.
    model = DepthAnything.from_name('v2-small')
    model(torch.randn(1, 3, 28, 28)).mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ('shape', 'found'),
    [
        ((1, 3, 60, 56), '60x56'),
        ((1, 3, 56, 13), '56x13'),
        ((1, 3, 0, 14), '0x14'),
        ((3, 56, 56), r'\(3, 56, 56\)'),
        ((1, 1, 56, 56), r'\(1, 1, 56, 56\)'),
    ],
)
def test_bad_input_is_refused_with_its_size(small, shape, found):
    with pytest.raises(ValueError, match=f'multiples of 14.*{found}'):
        small(torch.zeros(shape))


def test_bfloat16_autocast_keeps_a_fine_output(small):
    image = torch.randn(1, 3, 56, 84)
    exact = run(small, image)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = run(small, image)
    assert output.dtype == torch.float32
    assert (output - exact).abs().max() < 0.1 * (exact.max() - exact.min())
    # A bfloat16 output has 256 values an octave; neighbouring pixels would merge into terraces.
    assert output.unique().numel() > 0.9 * output.numel()


def test_half_precision_weights_run(small):
    image = torch.randn(1, 3, 56, 84)
    half = same_weights(small, 'v2-small').to(torch.bfloat16)
    output = run(half, image.to(torch.bfloat16))
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), run(small, image), atol=0.05, rtol=0.05)


def test_export_gives_the_same_output(small):
    image = torch.randn(1, 3, 56, 84)
    program = torch.export.export(small, (image,))
    torch.testing.assert_close(program.module()(image), run(small, image))
