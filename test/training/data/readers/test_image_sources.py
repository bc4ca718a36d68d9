"""Unlabelled images from where their makers put them, all alike once they are read."""

import io
import pickle
import tarfile

import cv2
import fsspec
import lmdb
import numpy as np
import pytest

from training.data.spec import DataSpec, make_dataset
from training.errors import BadSampleError, DataError, RecipeError


def encoded(seed, suffix='.png', size=(24, 32)):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def decoded(seed):
    return cv2.imdecode(np.frombuffer(encoded(seed), np.uint8), 1)[..., ::-1]


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def database(path, records):
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    return path


def opened(path, **options):
    return make_dataset(DataSpec('images', str(path), options=options))


def content(dataset):
    return {dataset.key(index): dataset[index].image for index in range(len(dataset))}


def assert_holds(dataset, seeds):
    found = content(dataset)
    assert found.keys() == seeds.keys()
    for key, seed in seeds.items():
        assert np.array_equal(found[key], decoded(seed)), key


def test_a_folder_gives_its_images_at_any_depth_and_nothing_else(layout, tmp_path):
    layout.write('train/a/one.png', encoded(1))
    layout.write('train/b/c/two.PNG', encoded(2))
    layout.write('train/b/._two.png', b'of macOS')
    layout.write('readme.txt', b'no image')
    dataset = opened(tmp_path)
    assert_holds(dataset, {'train/a/one': 1, 'train/b/c/two': 2})
    sample = dataset[0]
    assert (sample.depth, sample.disparity, sample.points) == (None, None, None)
    assert sample.meta['source'] == 'images'


def test_images_behind_links_to_folders_are_found_and_links_back_are_no_loop(layout, tmp_path):
    layout.write('disk2/b/two.png', encoded(2))
    layout.write('disk3/three.png', encoded(3))
    layout.write('set/a/one.png', encoded(1))
    (tmp_path / 'set/a/more').symlink_to(tmp_path / 'disk2')
    (tmp_path / 'disk2/b/further').symlink_to('../../disk3')
    (tmp_path / 'set/a/up').symlink_to('..')
    (tmp_path / 'disk3/self').symlink_to('.')
    # Two that lead to each other.
    (tmp_path / 'disk3/back').symlink_to(tmp_path / 'disk2')
    (tmp_path / 'set/nowhere').symlink_to(tmp_path / 'absent')
    (tmp_path / 'set/file.png').symlink_to('a/one.png')
    found = {'a/more/b/further/three': 3, 'a/more/b/two': 2, 'a/one': 1, 'file': 1}
    dataset = opened(tmp_path / 'set')
    assert_holds(dataset, found)
    assert [dataset.key(index) for index in range(4)] == [*found]
    # As a link to all of it, which is what most data sets on a cluster are.
    (tmp_path / 'link').symlink_to('set')
    assert_holds(opened(tmp_path / 'link'), found)


def test_a_labelled_set_whose_parts_are_links_is_read(layout, tmp_path):
    layout.image('disk/imgs/a.jpg')
    layout.png('disk/gts/a.png', np.full((24, 32), 7, np.uint8))
    layout.png('disk/valid_masks/a.png', np.full((24, 32), 255, np.uint8))
    (tmp_path / 'hrwsi').mkdir()
    (tmp_path / 'hrwsi/train').symlink_to(tmp_path / 'disk')
    dataset = make_dataset(DataSpec('hrwsi', str(tmp_path / 'hrwsi')))
    assert [dataset.key(index) for index in range(len(dataset))] == ['train/imgs/a']
    assert (dataset[0].disparity == 7).all()


def test_a_folder_in_an_object_store(tmp_path):
    files = fsspec.filesystem('memory')
    files.pipe('/bucket/train/x.png', encoded(3))
    files.pipe('/bucket/some.txt', b'train/x.png\n')
    try:
        assert_holds(opened('memory://bucket/train'), {'x': 3})
        assert_holds(opened('memory://bucket/some.txt'), {'train/x': 3})
    finally:
        files.rm('/bucket', recursive=True)


def test_a_list_is_relative_to_its_own_folder(layout, tmp_path):
    layout.write('pictures/with space.png', encoded(1))
    layout.write('elsewhere/b.png', encoded(2))
    layout.text('lists/mine.txt', '# chosen', '', '../pictures/with space.png', str(tmp_path / 'elsewhere/b.png'))
    found = content(opened(tmp_path / 'lists/mine.txt'))
    assert len(found) == 2
    assert all(not key.startswith(('/', '.')) and ' ' not in key for key in found)
    assert {image.tobytes() for image in found.values()} == {decoded(1).tobytes(), decoded(2).tobytes()}


def test_the_list_of_places365_has_leading_slashes_and_classes(layout, tmp_path):
    layout.write('data_256/a/airfield/00000001.png', encoded(1))
    layout.write('data_256/z/zoo/00000002.png', encoded(2))
    layout.text('places365_train_standard.txt', '/a/airfield/00000001.png 0', '/z/zoo/00000002.png 364')
    dataset = opened(tmp_path / 'places365_train_standard.txt', root=str(tmp_path / 'data_256'))
    assert_holds(dataset, {'a/airfield/00000001': 1, 'z/zoo/00000002': 2})


def test_a_listed_file_that_is_missing_costs_one_sample(layout, tmp_path):
    layout.write('a.png', encoded(1))
    layout.text('list.txt', 'a.png', 'gone.png')
    dataset = opened(tmp_path / 'list.txt')
    assert np.array_equal(dataset[0].image, decoded(1))
    with pytest.raises(BadSampleError, match=r'gone.*no such file'):
        dataset[1]


def test_a_line_that_names_no_image_is_shown(layout, tmp_path):
    layout.text('list.txt', 'a.png', 'class,label')
    with pytest.raises(DataError, match=r"line 2 names no image .*'class,label'"):
        opened(tmp_path / 'list.txt')


def test_tars_as_of_sa_1b_one_read_for_each_image(tmp_path):
    for number in range(2):
        members = {}
        for index in range(3):
            members[f'./sa_{number}{index}.json'] = b'{"annotations": []}'
            members[f'./sa_{number}{index}.png'] = encoded(10 * number + index)
        tar(tmp_path / f'sa_{number:06d}.tar', members)
    seeds = {f'sa_{number:06d}/sa_{number}{index}': 10 * number + index for number in range(2) for index in range(3)}
    dataset = opened(tmp_path)
    assert_holds(dataset, seeds)
    one = opened(tmp_path / 'sa_000001.tar')
    assert {image.tobytes() for image in content(one).values()} == {decoded(seed).tobytes() for seed in (10, 11, 12)}
    # No tar is opened any more, and no byte of another member is read.
    reads = []
    dataset.folder.read = lambda name, start, end: reads.append((name, end - start)) or encoded(0)
    dataset[5]
    assert reads == [('sa_000001.tar', len(encoded(12)))]


def test_a_cut_or_compressed_tar_is_named(tmp_path):
    path = tar(tmp_path / 'cut/sa_000000.tar', {f'{index}.png': encoded(index) for index in range(3)})
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(DataError, match=r'sa_000000\.tar: no whole'):
        opened(tmp_path / 'cut')
    (tmp_path / 'gz').mkdir()
    with tarfile.open(tmp_path / 'gz/patch0.tar.gz', 'w:gz'):
        pass
    with pytest.raises(DataError, match=r'patch0\.tar\.gz.*decompress'):
        opened(tmp_path / 'gz')


def test_an_lmdb_as_of_lsun(tmp_path):
    # WebP as OpenCV writes it loses something, so both sides are of the same bytes.
    path = database(tmp_path / 'bridge_val_lmdb', {f'{seed:040x}'.encode(): encoded(seed, '.webp') for seed in (1, 2)})
    dataset = opened(path)
    assert [dataset.key(index) for index in range(2)] == [f'{seed:040x}%2Eimage'[:40] for seed in (1, 2)]
    for index, seed in enumerate((1, 2)):
        expected = cv2.imdecode(np.frombuffer(encoded(seed, '.webp'), np.uint8), 1)[..., ::-1]
        assert np.array_equal(dataset[index].image, expected)


def test_several_lmdbs_in_one_folder_keep_their_names_and_binary_keys(tmp_path):
    database(tmp_path / 'a_lmdb', {b'k': encoded(1)})
    database(tmp_path / 'b_lmdb', {b'k': encoded(2), b'\x00/. \xff': encoded(3)})
    assert_holds(opened(tmp_path), {'a_lmdb/k': 1, 'b_lmdb/0x002f2e20ff': 3, 'b_lmdb/k': 2})


def test_an_lmdb_is_open_only_while_it_is_needed_and_two_data_sets_share_it(tmp_path):
    path = database(tmp_path / 'x_lmdb', {b'x': encoded(1)})
    first = opened(path)
    lmdb.open(str(path), readonly=True).close()  # refused where it is open already, also in a fork of the process
    assert_holds(first, {'x': 1})
    assert_holds(opened(path), {'x': 1})
    assert_holds(first, {'x': 1})


def test_a_cut_lmdb_is_an_error_and_not_the_end_of_the_process(tmp_path):
    path = database(tmp_path / 'x_lmdb', {f'{seed}'.encode(): encoded(seed) for seed in range(9)})
    data = path / 'data.mdb'
    data.write_bytes(data.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r'cut short, 20000 of \d+ bytes'):
        opened(path)
    data.write_bytes(b'no database' * 1000)
    with pytest.raises(DataError, match='no LMDB that can be read'):
        opened(path)


def test_each_kind_is_read_by_another_process_without_being_opened_anew(layout, tmp_path):
    layout.write('folder/x.png', encoded(4))
    layout.text('folder/list.txt', 'x.png')
    tar(tmp_path / 'x.tar', {'x.png': encoded(4)})
    database(tmp_path / 'lmdb', {b'x': encoded(4)})
    for path in ('folder', 'folder/list.txt', 'x.tar', 'lmdb'):
        copy = pickle.loads(pickle.dumps(opened(tmp_path / path)))
        assert np.array_equal(copy[0].image, decoded(4))


def test_an_image_that_is_cut_off_is_one_bad_sample(layout, tmp_path):
    layout.write('folder/a.jpg', encoded(1, '.jpg', (64, 64)))
    layout.write('folder/b.jpg', encoded(2, '.jpg', (64, 64))[:900])
    tar(tmp_path / 'x.tar', {'b.jpg': encoded(2, '.jpg', (64, 64))[:900]})
    database(tmp_path / 'lmdb', {b'b': b'no picture'})
    folder = opened(tmp_path / 'folder')
    assert folder[0].image.shape == (64, 64, 3)
    for bad, index in ((folder, 1), (opened(tmp_path / 'x.tar'), 0), (opened(tmp_path / 'lmdb'), 0)):
        with pytest.raises(BadSampleError, match='b'):
            bad[index]


def test_the_fingerprint_is_of_what_there_is_and_not_of_where(layout, tmp_path):
    for place in ('here', 'there'):
        layout.write(f'{place}/a.png', encoded(1))
        tar(tmp_path / place / 'tars/x.tar', {'a.png': encoded(1)})
        layout.text(f'{place}/list.txt', 'a.png')
    for path, kind in (('', 'folder'), ('tars', 'tars'), ('list.txt', 'list')):
        here, there = (opened(tmp_path / place / path, kind=kind).fingerprint for place in ('here', 'there'))
        assert here == there
    roots = [opened(tmp_path / 'here/list.txt', root=str(tmp_path / place)) for place in ('here', 'there')]
    assert roots[0].fingerprint == roots[1].fingerprint
    before = opened(tmp_path / 'here', kind='folder').fingerprint
    layout.write('here/b.png', encoded(2))
    assert opened(tmp_path / 'here', kind='folder').fingerprint != before


def test_what_is_not_there_or_not_clear_is_one_plain_line(layout, tmp_path):
    with pytest.raises(DataError, match=r'nowhere: no such folder'):
        opened(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty.txt').write_text('# nothing\n')
    tar(tmp_path / 'nested.tar', {'n01.tar': b'x'})
    database(tmp_path / 'empty_lmdb', {})
    for name in ('empty', 'empty.txt', 'nested.tar', 'empty_lmdb'):
        with pytest.raises(DataError, match=f'{name}: no samples of images'):
            opened(tmp_path / name)
    layout.write('both/a.png', encoded(1))
    tar(tmp_path / 'both/x.tar', {'a.png': encoded(2)})
    with pytest.raises(DataError, match=r'1 images, 1 tars and 0 LMDBs .*options\.kind'):
        opened(tmp_path / 'both')
    assert_holds(opened(tmp_path / 'both', kind='folder'), {'a': 1})
    assert_holds(opened(tmp_path / 'both', kind='tars'), {'x/a': 2})
    with pytest.raises(RecipeError, match='kind must be one of folder, list, tars, lmdb'):
        opened(tmp_path / 'both', kind='zip')
    with pytest.raises(RecipeError, match='root is for a list'):
        opened(tmp_path / 'both', kind='folder', root='x')
