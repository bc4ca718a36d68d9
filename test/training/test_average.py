"""The mean of the weights of networks."""

from dataclasses import replace

import pytest
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.network import DepthAnything, WeightSource
from training.average import main
from training.initial import initial_network
from training.renormalisation import mean_moments, moments, pictures_for


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


@pytest.fixture
def moments_of(small_shards):
    """Of what each normalisation of the networks in files puts out for the small pictures."""

    def measure(*paths):
        networks = [checkpoints.load(None, path) for path in paths]
        images = pictures_for(networks[0], [str(small_shards[0])])
        return mean_moments([moments(network, images) for network in networks])

    return measure


def test_a_renormalised_mean_varies_as_its_networks_do_where_the_mean_alone_varies_less(
    saved, tmp_path, small_shards, moments_of
):
    start, paths = saved('start.safetensors'), []
    for seed in range(2):
        network, chance = checkpoints.load(None, start), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in network.parameters():
                if weight.ndim == 4:
                    weight.add_(0.5 * weight.std() * torch.randn(weight.shape, generator=chance))
        paths.append(str(tmp_path / f'{seed}.safetensors'))
        checkpoints.save(network, paths[-1])
    plain, file = tmp_path / 'plain.safetensors', tmp_path / 'mean.safetensors'
    assert main([str(plain), *paths]) == 0
    assert main(['--pictures', str(small_shards[0]), str(file), *paths]) == 0
    wanted, shares = moments_of(*paths), {}
    for path in (plain, file):
        found = moments_of(path)
        shares[path] = [float(one[1].mean() / wished[1].mean()) for one, wished in zip(found, wanted, strict=True)]
    assert max(shares[plain]) < 0.98
    assert min(shares[plain]) < 0.6
    assert min(shares[file]) > 0.98
    assert max(shares[file]) < 1.02


def test_a_network_that_is_its_own_mean_has_nothing_to_renormalise(saved, tmp_path, small_shards):
    path, file = saved('one.safetensors'), tmp_path / 'mean.safetensors'
    assert main(['--pictures', str(small_shards[0]), str(file), path, path]) == 0
    first = weights(path)
    for name, value in weights(file).items():
        if value.is_floating_point():
            assert torch.allclose(value, first[name], rtol=1e-4, atol=1e-5), name


def test_what_cannot_be_renormalised_is_not_written(saved, tmp_path, small_shards, capsys):
    file, path = tmp_path / 'mean.safetensors', saved('one.safetensors')
    assert main(['--pictures', str(tmp_path / 'nowhere'), str(file), path, path]) != 0
    assert 'nowhere' in capsys.readouterr().err
    path = saved('vit.safetensors', 'v2-small')
    assert main(['--pictures', str(small_shards[0]), str(file), path, path]) != 0
    assert 'v2-small has no batch normalisation' in capsys.readouterr().err
    assert not file.exists()


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


def test_metres_are_not_changed_by_naming_the_architecture(saved, tmp_path, capsys):
    file = tmp_path / 'mean.safetensors'
    near, far = (saved(f'{metres}.safetensors', 'v2-small-indoor', max_depth=metres) for metres in (10.0, 80.0))
    assert main(['--architecture', 'v2-small-indoor', str(file), near, far]) != 0
    assert 'different networks' in capsys.readouterr().err
    assert not file.exists()
    assert main(['--architecture', 'v2-small-indoor', str(file), near, near]) == 0
    assert checkpoints.load(None, file).architecture.max_depth == 10.0


def test_a_licence_that_forbids_commercial_use_is_agreed_to_and_kept(saved, tmp_path, capsys):
    file, path = tmp_path / 'mean.safetensors', saved('one.safetensors', licence='CC-BY-NC-4.0')
    assert main([str(file), path, path]) != 0
    assert '--accept-license' in capsys.readouterr().err
    assert main(['--accept-license', str(file), path, path]) == 0
    assert checkpoints.load(None, file, accept_license=True).source.licence == 'CC-BY-NC-4.0'
