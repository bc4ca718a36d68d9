"""The built-in model's file: the trained weights in half precision, by its own name."""

import math

import pytest
import torch
from torch import nn

from depth_anything_ros import checkpoints
from depth_anything_ros.network import WeightSource
from training.builtin import main
from training.initial import initial_network
from training.renormalisation import moments, pictures_for


@pytest.fixture
def trained(tmp_path):
    """Makes a network that counts as trained, and its file."""

    def make(architecture='lite0', licence=None):
        network, path = initial_network(architecture, 'random'), tmp_path / 'model.safetensors'
        network.source = WeightSource(architecture, trained=True, licence=licence)
        checkpoints.save(network, path)
        return network, path

    return make


def same_but_for_the_unit(found, expected, tolerance):
    # Of a power of 8: each of three layers has a power of two.
    unit = 8.0 ** round(math.log2(float(expected.mean() / found.mean())) / 3)
    assert found * unit == pytest.approx(expected, rel=tolerance, abs=tolerance * float(expected.max()))


@pytest.mark.parametrize('scale', [3e-5, 1.0, 3e5])
def test_disparities_of_any_size_come_near_one(tmp_path, scale):
    network = initial_network('lite0', 'random')
    network.source = WeightSource('lite0', trained=True)
    with torch.no_grad():
        network.head.output.weight *= scale
        network.head.output.bias *= scale
    checkpoints.save(network, tmp_path / 'model.safetensors')
    assert main([str(tmp_path / 'model.safetensors'), str(tmp_path / 'half.safetensors')]) == 0
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = network.eval()(image), checkpoints.load(None, tmp_path / 'half.safetensors').eval()(image)
    assert 0.1 < found.mean() < 10
    same_but_for_the_unit(found, expected, 0.02)


def test_a_training_becomes_a_file_of_half_the_size_that_predicts_the_same(trained, tmp_path, capsys):
    (network, path), file = trained(licence='Apache-2.0'), tmp_path / 'half.safetensors'
    assert main([str(path), str(file)]) == 0
    assert file.stat().st_size < 0.52 * path.stat().st_size
    loaded = checkpoints.load(None, file)
    assert loaded.source.sha256 in capsys.readouterr().out
    assert (loaded.source.trained, loaded.source.licence) == (True, 'Apache-2.0')
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = network.eval()(image), loaded.eval()(image)
    same_but_for_the_unit(found, expected, 0.02)


def test_what_computes_in_bf16_has_no_weight_to_round(tmp_path):
    network = initial_network('lite0', 'random')
    network.source = WeightSource('lite0', trained=True)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            for values in (module.bias.data, module.running_mean):
                values.copy_(torch.randn(values.shape, generator=generator))
    checkpoints.save(network, tmp_path / 'model.safetensors')
    assert main([str(tmp_path / 'model.safetensors'), str(tmp_path / 'half.safetensors')]) == 0
    loaded = checkpoints.load(None, tmp_path / 'half.safetensors').eval()
    image = torch.rand(1, 3, 64, 96, generator=generator)
    with torch.inference_mode():
        expected, found = network.eval()(image), loaded(image)
    same_but_for_the_unit(found, expected, 0.05)
    for module in loaded.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert torch.equal(module.weight, module.weight.bfloat16().float())
        if isinstance(module, torch.nn.BatchNorm2d):
            scale = module.weight / torch.sqrt(module.running_var + module.eps)
            assert torch.allclose(scale, torch.ones_like(scale), atol=1e-4)


def test_what_is_no_network_is_an_error_and_leaves_no_file(tmp_path, capsys):
    (tmp_path / 'model.safetensors').write_bytes(b'none')
    assert main([str(tmp_path / 'model.safetensors'), str(tmp_path / 'out.safetensors')]) == 1
    assert 'model.safetensors' in capsys.readouterr().err
    assert not (tmp_path / 'out.safetensors').exists()


def test_with_pictures_no_channel_moves_for_its_rounded_weights(trained, tmp_path, small_shards):
    (network, file), pictures = trained(), str(small_shards[0])
    plain, corrected = (tmp_path / f'{name}.safetensors' for name in ('plain', 'corrected'))
    assert main([str(file), str(plain)]) == 0
    assert main(['--pictures', pictures, str(file), str(corrected)]) == 0
    images = pictures_for(network, [pictures])
    wanted, moved = moments(network, images), {}
    for path in (plain, corrected):
        found = moments(checkpoints.load(None, path), images)
        moved[path] = max(
            float((mean - wished).abs().max() / deviation.mean())
            for (mean, _), (wished, deviation) in zip(found, wanted, strict=True)
        )
    assert moved[corrected] < 0.1 * moved[plain]
    weights = [module.weight for module in checkpoints.load(None, corrected).modules() if isinstance(module, nn.Conv2d)]
    assert all(torch.equal(weight, weight.bfloat16().float()) for weight in weights)


def test_a_network_of_other_multiples_is_brought_near_one_too(trained, tmp_path):
    (_, path), file = trained('v2-small', 'CC-BY-NC-4.0'), tmp_path / 'half.safetensors'
    assert main([str(path), str(file)]) != 0
    assert main(['--accept-license', str(path), str(file)]) == 0
    image = torch.rand(1, 3, 70, 98, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert 0.1 < checkpoints.load(None, file, accept_license=True).eval()(image).mean() < 10


def test_pictures_that_are_not_there_are_missed_before_anything_is_written(trained, tmp_path, capsys):
    (_, path), file = trained(), tmp_path / 'half.safetensors'
    assert main(['--pictures', str(tmp_path / 'nowhere'), str(path), str(file)]) != 0
    assert 'nowhere' in capsys.readouterr().err
    assert not file.exists()
