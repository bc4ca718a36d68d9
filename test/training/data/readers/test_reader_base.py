"""What every reader does, seen through that of plain folders."""

import importlib
import pickle

import cv2
import fsspec
import numpy as np
import pytest

from training.data.readers import READERS
from training.data.readers.base import Reader, camera_matrix, key_of
from training.data.readers.folder import FolderReader
from training.data.readers.images import Images
from training.errors import BadSampleError, DataError, RecipeError
from training.evaluation.sequences import sequence_of

DEPTH = np.linspace(1, 20, 24 * 32, dtype=np.float32).reshape(24, 32)


def fill(layout, names=('a', 'b')):
    for seed, name in enumerate(names):
        layout.image(f'images/{name}.png', seed=seed)
        layout.npy(f'depth/{name}.npy', DEPTH + seed)


def test_each_type_names_its_class_and_every_class_its_type():
    for name, place in READERS.items():
        module, _, kind = place.partition(':')
        reader = getattr(importlib.import_module(module), kind)
        assert issubclass(reader, Reader)
        assert reader.name == name
        assert reader.layout


def test_image_and_depth_are_matched_by_name_at_any_depth_of_folders(layout):
    image = layout.image('images/walk 1/x.01.jpeg')
    layout.png('depth/walk 1/x.01.png', np.uint16(DEPTH * 1000))
    layout.image('images/y.png', seed=1)
    layout.pfm('depth/y.PFM', DEPTH)
    data = FolderReader(layout.root, scale=0.001)
    assert [data.key(index) for index in range(len(data))] == ['images/walk%201/x%2E01', 'images/y']
    found = data[0]
    assert found.key == data.key(0)
    assert np.abs(found.image.astype(int) - image).mean() < 60  # JPEG of noise
    assert np.allclose(found.depth, DEPTH, atol=0.001)
    assert np.allclose(data[1].depth, DEPTH / 1000)
    assert found.meta == {'source': 'folder', 'scene': 'images/walk 1'}
    with pytest.raises(IndexError):
        data[2]


def test_images_of_one_folder_are_neighbours_and_those_of_another_are_not(layout):
    fill(layout, ('hall/a', 'hall/b', 'yard/a'))
    data = FolderReader(layout.root)
    first, second, other = (sequence_of(data[index]) for index in range(3))
    assert first == second != other != ''


def test_invalid_numbers_become_nan_infinity_stays_the_sky_and_a_split_is_a_folder(layout):
    values = DEPTH.copy()
    values[0, :4] = -1, np.inf, np.nan, -5
    layout.image('val/rgb/a.png')
    layout.exr('val/z/a.exr', Z=values)
    found = FolderReader(layout.root, 'val', image_dir='rgb', depth_dir='z/', invalid=-1)[0]
    assert np.array_equal(found.depth[0, :4], [np.nan, np.inf, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(found.depth[1:], values[1:])
    found = FolderReader(layout.root, 'val', image_dir='rgb', depth_dir='z', invalid=-1, kind='disparity')[0]
    assert found.depth is None
    assert np.array_equal(found.disparity[0, :4], [np.nan, np.nan, np.nan, -5], equal_nan=True)


def test_one_bad_sample_leaves_the_others(layout):
    fill(layout, ('a', 'b', 'c', 'd', 'e', 'f'))
    layout.cut('images/b.png')
    layout.cut('depth/c.npy')
    (layout.root / 'depth/d.npy').unlink()
    layout.npy('depth/e.npy', DEPTH[:10])
    layout.npy('depth/f.npy', np.zeros_like(DEPTH))
    data = FolderReader(layout.root)
    messages = []
    for index in range(1, 6):
        with pytest.raises(BadSampleError, match=f'^{data.key(index)}: (?!{data.key(index)}: )') as error:
            data[index]
        messages.append(str(error.value))
    for message, word in zip(messages, ('images/b.png', 'depth/c.npy', 'no depth', 'shape', 'known'), strict=True):
        assert word in message
    assert np.array_equal(data[0].depth, DEPTH)


def test_a_sample_that_vanished_since_the_listing_is_a_bad_one(layout):
    fill(layout)
    data = FolderReader(layout.root)
    (layout.root / 'depth/a.npy').unlink()
    with pytest.raises(BadSampleError, match='no such file'):
        data[0]
    assert data[1].key == 'images/b'


def test_a_folder_of_another_layout_is_refused_with_what_was_expected(layout):
    with pytest.raises(DataError, match='no such folder'):
        FolderReader(layout.root / 'nowhere')
    with pytest.raises(DataError, match=r'no samples of folder here, expected images/'):
        FolderReader(layout.root)
    fill(layout)
    with pytest.raises(DataError, match="of the split 'val'"):
        FolderReader(layout.root, 'val')
    with pytest.raises(DataError, match='2 images in images and 0 files of depth in z, but no name'):
        FolderReader(layout.root, depth_dir='z')
    layout.png('depth/a.png', DEPTH.astype(np.uint16))
    with pytest.raises(DataError, match=r'depth/a\.npy and depth/a\.png are both the depth of a'):
        FolderReader(layout.root)
    (layout.root / 'depth/a.png').unlink()
    layout.image('images/a.jpg')
    with pytest.raises(DataError, match=r'images/a\.jpg and images/a\.png both have the key images/a'):
        FolderReader(layout.root)


@pytest.mark.parametrize('orientation', [3, 6])
def test_depth_is_of_the_pixels_that_the_file_holds_however_it_is_to_be_turned(layout, orientation):
    image = np.zeros((24, 32, 3), np.uint8)
    image[:12] = 255
    jpeg = cv2.imencode('.jpg', image)[1].tobytes()
    # A minimal EXIF block behind the start of the file, with the one tag.
    tiff = b'II*\0\x08\0\0\0\x01\0' + b'\x12\x01\x03\0\x01\0\0\0' + bytes([orientation]) + bytes(3) + bytes(4)
    exif = b'Exif\0\0' + tiff
    layout.write('images/a.jpg', jpeg[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + jpeg[2:])
    layout.npy('depth/a.npy', np.where(image[..., 0] > 127, 1.0, 9.0))
    sample = FolderReader(layout.root)[0]
    assert sample.image.shape == (24, 32, 3)
    assert np.array_equal(sample.image[..., 0] > 127, sample.depth == 1.0)
    # Where nothing is known of its pixels it is turned.
    alone = Images(layout.root / 'images')[0].image
    assert (alone[:12] < 127).all() if orientation == 3 else alone.shape == (32, 24, 3)


def test_wrong_options_are_refused_with_the_right_ones(layout):
    fill(layout)
    for options, message in (
        ({'scael': 1.0}, 'no option .scael.: kind, scale'),
        ({'scale': 'mm'}, 'must be a number'),
        ({'scale': True}, 'must be a number'),
        ({'scale': 0}, 'above 0'),
        ({'kind': 'distance'}, 'depth or disparity'),
        ({'image_dir': 'depth'}, 'two folders'),
    ):
        with pytest.raises(RecipeError, match=message):
            FolderReader(layout.root, **options)


def test_the_fingerprint_is_of_names_and_options_not_of_the_place(layout, tmp_path):
    fill(layout)
    first = FolderReader(layout.root)
    moved = layout.root.rename(tmp_path.parent / f'{tmp_path.name}_moved')
    assert FolderReader(moved).fingerprint == first.fingerprint
    assert FolderReader(moved, scale=2).fingerprint != first.fingerprint
    (moved / 'images/b.png').unlink()
    assert FolderReader(moved).fingerprint != first.fingerprint


def test_it_can_be_sent_to_another_process(layout):
    fill(layout)
    data = FolderReader(layout.root)
    sent = pickle.loads(pickle.dumps(data))
    assert (len(sent), sent.fingerprint) == (2, data.fingerprint)
    assert np.array_equal(sent[1].depth, DEPTH + 1)


def test_an_object_store_is_read_as_a_folder_is(layout):
    fill(layout)
    memory = fsspec.filesystem('memory')
    memory.put(f'{layout.root}/', '/readers_base/', recursive=True)
    try:
        data = FolderReader('memory://readers_base')
        assert data.fingerprint == FolderReader(layout.root).fingerprint
        assert np.array_equal(data[0].depth, DEPTH)
    finally:
        memory.rm('/readers_base', recursive=True)


def test_no_two_names_have_one_key():
    names = ['a b.png', 'a_b.png', 'a%20b.png', 'a.b.png', 'a%2Eb.png', 'a/b.png', 'a\tb.png']
    keys = [key_of(name) for name in names]
    assert len({*keys}) == len(names)
    assert not any(mark in key for key in keys for mark in '. \t')


def test_the_camera_of_a_smaller_copy_sees_the_same_rays():
    full, half = (np.array(camera_matrix(320, 320, 319.5, 239.5, scale)) for scale in (1, 0.5))
    assert np.array_equal(full[:2, 2], [319.5, 239.5])
    # The left edge of the image, half a pixel before the first centre.
    left = [np.linalg.inv(matrix) @ [-0.5, -0.5, 1] for matrix in (full, half)]
    assert np.allclose(*left)
