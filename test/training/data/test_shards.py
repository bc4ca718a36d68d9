"""Shards: what is written comes back, the same samples give the same bytes, and damage is told apart."""

import cv2
import numpy as np
import pytest
import webdataset

from training.data import Sample, ShardDataset, ShardWriter
from training.data.shards import decode_image, encode_label, encode_sample
from training.errors import BadSampleError, DataError, MismatchError
from training.files import Folder


def sample(index):
    rng = np.random.default_rng(index)
    depth = rng.uniform(0.5, 60.0, (24, 32)).astype(np.float32)
    depth[0, 0], depth[0, 1] = np.nan, np.inf
    image = rng.integers(0, 256, (24, 32, 3), np.uint8)
    points = np.array([[1.5, 2.0, 3.25]], np.float32)
    return Sample(f's{index:03d}', image, depth=depth, points=points, meta={'scene': f'scene{index}'})


def write(folder, name, samples):
    return ShardWriter(Folder(folder)).write(name, ((item.key, encode_sample(item, suffix='png')) for item in samples))


def test_samples_come_back(tmp_path):
    samples = [sample(index) for index in range(5)]
    write(tmp_path, 'train-000000', samples[:3])
    write(tmp_path, 'train-000001', samples[3:4])
    write(tmp_path, 'held_out-000000', samples[4:])
    dataset = ShardDataset(tmp_path, 'train')
    assert (len(dataset), dataset.shard_sizes) == (4, [3, 1])
    for index, expected in enumerate(samples[:4]):
        found = dataset[index]
        assert (dataset.key(index), found.key) == (expected.key, expected.key)
        assert np.array_equal(found.image, expected.image)
        assert np.allclose(found.depth, expected.depth, rtol=1e-3, equal_nan=True)
        assert np.array_equal(found.points, expected.points)
        assert found.meta['scene'] == expected.meta['scene']
    with pytest.raises(IndexError):
        dataset[4]
    assert len(ShardDataset(tmp_path)) == 5


@pytest.mark.parametrize(('meta', 'unit'), [({'scale': 'arbitrary'}, 1e-9), ({'scale': 'arbitrary'}, 1e6), ({}, 2e4)])
def test_depth_beyond_float16_comes_back(tmp_path, meta, unit):
    depth = (unit * np.linspace(1.0, 5.0, 24 * 32).reshape(24, 32)).astype(np.float32)
    write(tmp_path, 'train-000000', [Sample('far', np.zeros((24, 32, 3), np.uint8), depth=depth, meta=meta)])
    np.testing.assert_allclose(ShardDataset(tmp_path)[0].depth, depth, rtol=1e-3)


def test_the_same_samples_give_the_same_bytes_and_others_another_fingerprint(tmp_path):
    for folder, indices in (('a', (0, 1)), ('b', (0, 1)), ('c', (0, 2))):
        write(tmp_path / folder, 'train-000000', [sample(index) for index in indices])
    a, b, c = ((tmp_path / folder / 'train-000000.tar').read_bytes() for folder in 'abc')
    assert a == b != c
    prints = [ShardDataset(tmp_path / folder).fingerprint for folder in 'abc']
    assert prints[0] == prints[1] != prints[2]


def test_the_webdataset_library_reads_them_and_its_own_are_read(tmp_path):
    write(tmp_path, 'train-000000', [sample(0)])
    (found,) = webdataset.WebDataset(str(tmp_path / 'train-000000.tar'), shardshuffle=False)
    assert (found['__key__'], 'depth.npy' in found) == ('s000', True)
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    with webdataset.TarWriter(str(foreign / '0.tar')) as tar:
        tar.write({'__key__': 'x', **encode_sample(sample(1), suffix='png')})
    assert np.array_equal(ShardDataset(foreign)[0].image, sample(1).image)


def test_labels_are_joined_by_key_at_the_size_of_the_image(tmp_path):
    write(tmp_path / 'images', 'train-000000', [sample(index) for index in range(3)])
    ramp = np.tile(np.linspace(2.0, 7.0, 32, dtype=np.float32), (24, 1))
    labels = [('s000', encode_label(ramp)), ('s002', encode_label(2 * ramp[::2, ::2]))]
    ShardWriter(Folder(tmp_path / 'labels')).write('train-000000', labels)
    dataset = ShardDataset(tmp_path / 'images', labels=tmp_path / 'labels')
    assert [dataset.key(index) for index in range(len(dataset))] == ['s000', 's002']
    assert np.abs(dataset[0].disparity - ramp).max() <= 5 / 65535
    assert dataset[1].disparity.shape == (24, 32)
    assert np.array_equal(dataset[1].image, sample(2).image)


def test_labels_of_other_images_are_refused(tmp_path):
    index = write(tmp_path / 'images', 'train-000000', [sample(0)])
    other = write(tmp_path / 'others', 'train-000000', [sample(1)])
    label = [('s000', encode_label(np.eye(24, 32, dtype=np.float32)))]
    ShardWriter(Folder(tmp_path / 'labels')).write('train-000000', label, labels_of=index['sha256'])
    assert len(ShardDataset(tmp_path / 'images', labels=tmp_path / 'labels')) == 1
    assert index['sha256'] != other['sha256']
    with pytest.raises(MismatchError, match='another shard'):
        ShardDataset(tmp_path / 'others', labels=tmp_path / 'labels')


def test_a_broken_image_is_one_bad_sample(tmp_path):
    good = encode_sample(sample(0))
    parts = [('a', good), ('b', {**good, 'jpg': good['jpg'][:-200]}), ('c', {**good, 'jpg': b''}), ('d', good)]
    ShardWriter(Folder(tmp_path)).write('train-000000', parts)
    dataset = ShardDataset(tmp_path)
    for index in (1, 2):
        with pytest.raises(BadSampleError, match=f'^{dataset.key(index)}: '):
            dataset[index]
    assert dataset[0].image.shape == dataset[3].image.shape == (24, 32, 3)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp'])
def test_a_picture_without_its_end_is_refused_and_bytes_after_it_are_not(suffix):
    done, content = cv2.imencode(f'.{suffix}', sample(0).image)
    whole = content.tobytes()
    assert done
    # A driver may hand out its whole buffer.
    assert decode_image('a', whole + bytes(500)).shape == (24, 32, 3)
    with pytest.raises(BadSampleError, match=r'^a: '):
        decode_image('a', whole[: len(whole) // 2])


def test_a_shard_cut_short_is_not_there_and_two_samples_of_a_key_are_refused(tmp_path):
    def cut():
        yield 's', encode_sample(sample(0))
        raise OSError('disk full')

    writer = ShardWriter(Folder(tmp_path))
    with pytest.raises(OSError, match='disk full'):
        writer.write('train-000000', cut())
    assert not writer.done('train-000000')
    with pytest.raises(DataError, match='no shards'):
        ShardDataset(tmp_path)
    with pytest.raises(DataError, match='two samples'):
        write(tmp_path, 'train-000000', [sample(0), sample(0)])


def test_the_target_of_training_is_inverse_depth_with_the_sky_at_zero():
    target = sample(0).target_disparity()
    assert np.isnan(target[0, 0])
    assert target[0, 1] == 0
    assert np.allclose(1 / target[1:], sample(0).depth[1:], rtol=1e-5)


def test_a_folder_whose_name_is_a_pattern_is_read(tmp_path):
    folder = tmp_path / 'run[1]'
    write(folder, 'train-000000', [sample(0)])
    assert len(ShardDataset(folder)) == 1
