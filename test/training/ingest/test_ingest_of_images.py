"""Images that come from no bag, through the filters and into shards."""

import cv2
import numpy as np
import pytest

from training.data import ShardDataset
from training.data.spec import DataSpec
from training.errors import RecipeError
from training.ingest import images as ingest_images
from training.stages import ingest

IMAGES, CORRUPT = 40, 7


def picture(seed):
    """Sharp, bright enough, and unlike the one before."""
    coarse = np.random.default_rng(seed).integers(40, 215, (15, 20, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 16, 0), 16, 1)


def fill(folder):
    folder.mkdir()
    for seed in range(IMAGES):
        content = cv2.imencode('.jpg', picture(seed)[..., ::-1])[1].tobytes()
        (folder / f'{seed:03d}.jpg').write_bytes(content[: len(content) // 2] if seed == CORRUPT else content)
    return DataSpec('images', str(folder))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.glob('*-*.tar')}


def settings(spec, output, **changes):
    return ingest.Settings(images=[spec], output=str(output), shard_size=10, max_saturated=0.9, **changes)


def test_one_corrupt_jpeg_among_many_is_counted_and_the_others_become_shards(tmp_path):
    manifest = ingest.run(settings(fill(tmp_path / 'source'), tmp_path / 'one'))
    assert manifest['dropped'] == {'undecodable': 1}
    assert (manifest['frames'], manifest['images']) == (IMAGES, IMAGES - 1)
    assert (manifest['train'], manifest['held_out']) == (35, 4)
    assert f'{CORRUPT:03d}' in next(iter(manifest['problems']['images-0']))
    train, held_out = (ShardDataset(tmp_path / 'one', split) for split in ('train', 'held_out'))
    assert [held_out.key(index) for index in range(4)] == [f'images-0/{seed:03d}' for seed in range(36, 40)]
    # The eighth is the ninth's place.
    assert np.abs(train[CORRUPT].image.astype(int) - picture(CORRUPT + 1)).mean() < 12
    ingest.run(settings(DataSpec('images', str(tmp_path / 'source')), tmp_path / 'two', workers=2))
    assert content(tmp_path / 'one') == content(tmp_path / 'two') != {}


def test_a_source_is_listed_once_and_not_for_each_shard(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(
        ingest_images, 'make_dataset', lambda spec, make=ingest_images.make_dataset: listed.append(spec) or make(spec)
    )
    ingest.run(settings(fill(tmp_path / 'source'), tmp_path / 'one'))
    assert len(listed) == 1
    # Another run sees what has changed since.
    (tmp_path / 'source' / f'{CORRUPT:03d}.jpg').unlink()
    assert ingest.run(settings(listed[0], tmp_path / 'two'))['frames'] == IMAGES - 1


def columns(folder, **options):
    """A source of one image whose grey values, and whose depth or disparity, are the numbers of the columns."""
    numbers = np.tile(np.arange(252, dtype=np.uint8), (168, 1))
    for name in ('images', 'depth'):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / 'images/a.png'), np.repeat(numbers[..., None], 3, 2))
    np.save(folder / 'depth/a.npy', numbers.astype(np.float32))
    return DataSpec('folder', str(folder), options=options)


def test_depth_that_is_shrunk_stays_in_register_with_its_image(tmp_path):
    spec = columns(tmp_path / 'source')
    shrinking = {'max_size': 56, 'encoding': 'png', 'min_sharpness': 0.0, 'held_out_fraction': 0.0}
    ingest.run(settings(spec, tmp_path / 'shards', **shrinking))
    sample = ShardDataset(tmp_path / 'shards')[0]
    assert sample.image.shape == (56, 84, 3)
    # In columns of the original, of which one of the shrunk image has three.
    assert np.abs(sample.depth - sample.image[..., 0]).max() < 0.5


def test_what_is_held_out_is_not_repeated_into_what_is_trained_on(tmp_path):
    spec = fill(tmp_path / 'source')
    spec.repeat = 2
    with pytest.raises(RecipeError, match='repeat is for the recipe of a training'):
        ingest.run(settings(spec, tmp_path / 'out'))


def test_labels_that_shards_cannot_hold_are_refused_before_the_work(tmp_path):
    spec = columns(tmp_path / 'source', kind='disparity')
    with pytest.raises(RecipeError, match=r'images-0 \(folder\): its labels are disparity'):
        ingest.run(settings(spec, tmp_path / 'shards'))
    assert not (tmp_path / 'shards').exists()
