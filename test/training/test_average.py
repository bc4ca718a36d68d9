"""The mean of the weights of networks."""

from dataclasses import replace

import pytest
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.network import DepthAnything, WeightSource
from training.average import main
from training.initial import initial_network


@pytest.fixture
def saved(tmp_path):
    """Makes a file of a network that counts as trained."""

    def make(name, architecture='lite0', licence='Apache-2.0', max_depth=None, **options):
        network = initial_network(architecture, 'random', **options)
        if max_depth:
            network = DepthAnything(replace(network.architecture, max_depth=max_depth))
        network.source = WeightSource(architecture, trained=True, licence=licence)
        checkpoints.save(network, tmp_path / name)
        return str(tmp_path / name)

    return make


def weights(path):
    return checkpoints.load(None, path).state_dict()


def test_each_weight_is_the_mean_of_the_networks(saved, tmp_path):
    paths, file = [saved(f'{seed}.safetensors', seed=seed) for seed in range(3)], tmp_path / 'mean.safetensors'
    assert main([str(file), *paths]) == 0
    first, second, third = map(weights, paths)
    for name, value in weights(file).items():
        if value.is_floating_point():
            assert torch.allclose(value, (first[name] + second[name] + third[name]) / 3, atol=1e-6), name
    assert checkpoints.load(None, file).source.licence == 'Apache-2.0'


def test_the_mean_can_be_of_a_network_that_leaves_blocks_out(saved, tmp_path, capsys):
    deep, short = saved('deep.safetensors', 'tiny-deep', seed=1), saved('short.safetensors', 'tiny', seed=2)
    file = tmp_path / 'mean.safetensors'
    assert main(['--architecture', 'tiny', str(file), deep, short]) == 0
    assert checkpoints.load('tiny', file).source.licence == 'Apache-2.0'
    first, second = weights(deep), weights(short)
    for name, value in weights(file).items():
        if value.is_floating_point():
            assert torch.allclose(value, (first[name] + second[name]) / 2, atol=1e-6), name
    assert main(['--architecture', 'tiny-deep', str(file), deep, short]) != 0
    assert 'cannot start tiny-deep' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('other', 'complaint'),
    [
        ({'architecture': 'lite1'}, 'different networks'),
        ({'max_depth': 20.0}, 'different networks'),
        ({'licence': 'MIT'}, 'different licences'),
    ],
)
def test_what_does_not_go_together_has_no_mean(saved, tmp_path, capsys, other, complaint):
    file = tmp_path / 'mean.safetensors'
    assert main([str(file), saved('one.safetensors'), saved('other.safetensors', **other)]) != 0
    assert complaint in capsys.readouterr().err
    assert not file.exists()
