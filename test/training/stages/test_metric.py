"""The metric network: metres, from a relative network's encoder."""

import numpy as np
import pytest
import torch

from depth_anything_ros import checkpoints
from training.data import Sample, ShardWriter
from training.data.shards import encode_sample
from training.data.spec import DataSpec
from training.errors import RecipeError
from training.files import Folder
from training.initial import initial_network
from training.stages import metric


@pytest.fixture(scope='module')
def relative(tmp_path_factory):
    path = tmp_path_factory.mktemp('relative') / 'model.safetensors'
    checkpoints.save(initial_network('lite0', 'random', seed=3), path)
    return str(path)


def settings_of(shards, checkpoint, output, **changes):
    small = {'architecture': 'lite0', 'size': [32, 64], 'steps': 1, 'batch_size': 4, 'workers': 0, 'device': 'cpu'}
    rates = {'encoder_lr': 1e-4, 'decoder_lr': 1e-3, 'checkpoint': checkpoint}
    data = [DataSpec('shards', str(shards))]
    return metric.Settings(**{**small, **rates, 'data': data, 'output': str(output), **changes})


def test_a_metric_network_learns_metres_and_says_what_it_is(small_shards, relative, tmp_path):
    shards = small_shards[0]
    data = [DataSpec('shards', str(shards))]
    changes = {'steps': 20, 'max_depth': 8.0, 'canonical_focal_px': 500.0, 'validation': data, 'validation_samples': 4}
    manifest = metric.run(settings_of(shards, relative, tmp_path / 'out', **changes))
    network = checkpoints.load(None, tmp_path / 'out/model.safetensors')
    assert (network.architecture.kind, network.architecture.max_depth) == ('depth', 8.0)
    assert network.architecture.canonical_focal_px == 500.0
    once = metric.run(settings_of(shards, relative, tmp_path / 'once', max_depth=8.0))
    assert manifest['best']['loss'] < 0.85 * once['losses']['silog']


def test_the_head_starts_anew_and_the_encoder_does_not(small_shards, relative, tmp_path):
    network = metric.prepare(settings_of(small_shards[0], relative, tmp_path)).network
    start = initial_network('lite0', 'random', seed=3).state_dict()
    same = {name.split('.')[0] for name, value in network.state_dict().items() if torch.equal(value, start[name])}
    assert not torch.equal(network.head.smooth.weight, start['head.smooth.weight'])
    assert torch.equal(network.encoder.levels.conv_stem.weight, start['encoder.levels.conv_stem.weight'])
    assert 'encoder' in same


def test_depth_out_of_range_is_unknown(small_shards, relative, tmp_path):
    view = (
        metric.prepare(settings_of(small_shards[0], relative, tmp_path, min_depth=0.5, max_depth=3.0)).streams[0].view
    )
    assert (view.target, view.min_depth, view.max_depth) == ('depth', 0.5, 3.0)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'max_depth': 0.0}, 'max_depth'),
        ({'silog_lambda': 2.0}, 'silog_lambda'),
        ({'canonical_focal_px': -1.0}, 'canonical_focal_px'),
        ({'canonical_focal_px': 500.0, 'sizes': [[64, 64], [32, 32]]}, 'several focal lengths'),
    ],
)
def test_values_out_of_range_are_refused(small_shards, relative, tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        settings_of(small_shards[0], relative, tmp_path, **changes)


@pytest.mark.parametrize(('focal_px', 'fits'), [(0.0, True), (57.0, True), (596.11, False)])
def test_the_focal_length_is_that_of_the_images_as_the_network_sees_them(relative, tmp_path, focal_px, fits):
    depth = np.ones((96, 144), np.float32)
    meta = {'K': [[150.0, 0.0, 71.5], [0.0, 150.0, 47.5], [0.0, 0.0, 1.0]]}
    sample = Sample('s', np.full((96, 144, 3), 90, np.uint8), depth=depth, meta=meta)
    ShardWriter(Folder(tmp_path)).write('train-000000', [('s', encode_sample(sample))])
    settings = settings_of(tmp_path, relative, tmp_path / 'out', size=[32, 32], canonical_focal_px=focal_px)
    if fits:
        assert (metric.prepare(settings).network.architecture.canonical_focal_px or 0.0) == focal_px
    else:
        # Seen as 32 x 64: 150 px become 50 downwards and 66.67 across.
        with pytest.raises(RecipeError, match=r'57\.74 px .*: set it to that, or to 0'):
            metric.prepare(settings)


def test_a_new_head_needs_an_encoder_that_was_trained(small_shards, tmp_path):
    with pytest.raises(RecipeError, match='reset_head'):
        metric.prepare(settings_of(small_shards[0], '', tmp_path))
