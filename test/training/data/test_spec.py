"""Data sets by the words of a recipe."""

import numpy as np
import pytest

from training.data import ShardWriter
from training.data.sample import Sample
from training.data.shards import encode_sample
from training.data.spec import DataSpec, make_dataset, make_datasets
from training.errors import DataError, RecipeError
from training.files import Folder


def shards(folder, keys):
    image = np.zeros((8, 8, 3), np.uint8)
    ShardWriter(Folder(folder)).write('train-000000', ((key, encode_sample(Sample(key, image))) for key in keys))
    return DataSpec('shards', str(folder))


def test_several_data_sets_are_one_after_another(tmp_path):
    both = make_datasets([shards(tmp_path / 'a', ['x', 'y']), shards(tmp_path / 'b', ['z'])])
    assert [both.key(index) for index in range(len(both))] == ['x', 'y', 'z']
    assert [both[index].key for index in range(len(both))] == ['x', 'y', 'z']
    assert both.shard_sizes == [2, 1]
    with pytest.raises(IndexError):
        both[3]


def test_a_small_set_can_count_several_times(tmp_path):
    few = shards(tmp_path / 'b', ['z'])
    few.repeat = 3
    data = make_datasets([shards(tmp_path / 'a', ['x', 'y']), few])
    assert [data.key(index) for index in range(len(data))] == ['x', 'y', 'z', 'z', 'z']
    assert data.shard_sizes == [2, 1, 1, 1]
    few.repeat = 0
    with pytest.raises(RecipeError, match='repeat must be at least 1, got 0'):
        make_datasets([few])


def test_what_is_around_jumps_of_the_depth_can_be_left_out(tmp_path):
    depth = np.where(np.arange(40) < 20, 1.0, 2.0).astype(np.float32) * np.ones((30, 1), np.float32)
    sample = Sample('x', np.zeros((30, 40, 3), np.uint8), depth=depth)
    ShardWriter(Folder(tmp_path)).write('train-000000', [('x', encode_sample(sample))])
    spec = DataSpec('shards', str(tmp_path))
    whole, spec.edge_margin = make_dataset(spec), 5
    part = make_dataset(spec)
    assert np.isnan(whole[0].depth).sum() == 0
    assert 10 * 30 <= np.isnan(part[0].depth).sum() <= 20 * 30
    assert (len(part), part.key(0), part.name, part.shard_sizes) == (1, 'x', whole.name, whole.shard_sizes)
    spec.edge_margin = 6
    assert len({whole.fingerprint, part.fingerprint, make_dataset(spec).fingerprint}) == 3
    spec.edge_margin = -1
    with pytest.raises(RecipeError, match='edge_margin must be at least 0, got -1'):
        make_dataset(spec)


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r'unknown type of data .*shards, .*hypersim'):
        make_dataset(DataSpec('imagenet', str(tmp_path)))
    with pytest.raises(RecipeError, match='labels belong to shards'):
        make_dataset(DataSpec('hypersim', str(tmp_path), labels='x'))
    with pytest.raises(RecipeError, match='no options'):
        make_dataset(DataSpec('shards', str(tmp_path), options={'colour': 1}))
    with pytest.raises(RecipeError, match='no data is named'):
        make_datasets([])


def test_a_reader_is_opened_by_its_name_and_says_which_layout_it_misses(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        make_dataset(DataSpec('sintel', str(tmp_path)))
