"""Bags become shards: what is kept, what is dropped and counted, and the same bytes however it was done."""

import cv2
import numpy as np
import pytest
from bag_messages import PERIOD_NS, START_NS, camera_info, depth_image, jpeg, raw, write_bag
from rosbags.rosbag2 import StoragePlugin

from training.data import ShardDataset
from training.errors import DataError
from training.stages import ingest

HEIGHT, WIDTH = 240, 320
K = [230.0, 0.0, 160.0, 0.0, 230.0, 120.0, 0.0, 0.0, 1.0]
FRAMES = 24


def picture(index):
    """Sharp, bright enough, and unlike the one before."""
    coarse = np.random.default_rng(index).integers(40, 215, (30, 40, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 8, 0), 8, 1)


def drive(path, first=0, make=raw, topic='/camera/image', plugin=StoragePlugin.SQLITE3, changed=None):
    """A bag of different frames with CameraInfo; changed: pictures by index instead."""
    messages = []
    for index in range(FRAMES):
        image = (changed or {}).get(index, picture(first + index))
        messages.append(('/camera/camera_info', index, camera_info(index, (HEIGHT, WIDTH), K)))
        messages.append((topic, index, make(index, image)))
    return write_bag(path, messages, plugin)


def settings(bags, output, **changes):
    # A bag of 12 s: blocks that fit into it.
    chosen = {
        'held_out_block_s': 3.0,
        'held_out_gap_s': 0.4,
        'held_out_fraction': 0.25,
        'max_saturated': 0.9,
        **changes,
    }
    return ingest.Settings(bags=[str(bag) for bag in bags], output=str(output), **chosen)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.glob('*-*.tar')}


@pytest.fixture(scope='module')
def two_bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bags')
    return [
        drive(folder / 'monday'),
        drive(folder / 'tuesday', 100, jpeg, '/camera/image/compressed', StoragePlugin.MCAP),
    ]


def test_raw_and_jpeg_of_both_storages_are_kept_with_time_and_intrinsics(two_bags, tmp_path):
    manifest = ingest.run(settings(two_bags, tmp_path / 'shards'))
    assert manifest['frames'] == 2 * FRAMES
    assert manifest['images'] + sum(manifest['dropped'].values()) == 2 * FRAMES
    dataset = ShardDataset(tmp_path / 'shards')
    assert len(dataset) == manifest['images'] > FRAMES
    for index in range(len(dataset)):
        sample = dataset[index]
        first = {'monday': 0, 'tuesday': 100}[sample.meta['bag']]
        frame = (sample.meta['stamp_ns'] - START_NS) // PERIOD_NS
        assert np.abs(sample.image.astype(int) - picture(first + frame)).mean() < 12  # JPEG
        assert np.allclose(sample.meta['K'], np.reshape(K, (3, 3)))


def test_what_is_held_out_is_apart_in_time_from_what_is_trained_on(two_bags, tmp_path):
    ingest.run(settings(two_bags[:1], tmp_path))
    stamps = {
        split: np.array([sample.meta['stamp_ns'] for sample in map(dataset.__getitem__, range(len(dataset)))])
        for split in ('train', 'held_out')
        for dataset in [ShardDataset(tmp_path, split)]
    }
    assert len(stamps['held_out'])
    apart = np.abs(stamps['train'][:, None] - stamps['held_out']).min()
    assert apart >= 0.4e9


def test_two_workers_write_the_bytes_of_one(two_bags, tmp_path):
    ingest.run(settings(two_bags, tmp_path / 'one', workers=1))
    ingest.run(settings(two_bags, tmp_path / 'two', workers=2))
    assert content(tmp_path / 'one') == content(tmp_path / 'two') != {}


def test_blurred_dark_overexposed_and_repeated_frames_are_dropped_and_counted(tmp_path):
    changed = {
        3: cv2.GaussianBlur(picture(3), (0, 0), 12),
        6: (picture(6) // 60).astype(np.uint8),
        9: np.full_like(picture(9), 255),
        13: picture(12),
    }
    bag = drive(tmp_path / 'bag', changed=changed)
    manifest = ingest.run(settings([bag], tmp_path / 'out', held_out_fraction=0.0))
    assert manifest['images'] == FRAMES - 4
    assert sorted(manifest['dropped'].values()) == [1, 1, 1, 1]
    assert cv2.imread(str(tmp_path / 'out' / 'contact_sheet.jpg')) is not None


def test_one_cut_jpeg_is_counted_and_the_others_stay(tmp_path):
    def cut_at_five(index, image):
        message = jpeg(index, image)
        if index == 5:
            message.data = message.data[: len(message.data) // 2]
        return message

    bag = drive(tmp_path / 'bag', 0, cut_at_five, '/camera/image/compressed')
    manifest = ingest.run(settings([bag], tmp_path / 'out', held_out_fraction=0.0))
    assert manifest['images'] == FRAMES - 1
    assert sum(manifest['dropped'].values()) == 1


def test_a_bag_that_was_cut_off_gives_what_it_has(tmp_path):
    # An MCAP without an end, as when the robot's battery was empty.
    bag = drive(tmp_path / 'whole', plugin=StoragePlugin.MCAP)
    whole = next(bag.glob('*.mcap')).read_bytes()
    path = tmp_path / 'cut.mcap'
    path.write_bytes(whole[: len(whole) * 2 // 3])
    manifest = ingest.run(settings([path], tmp_path / 'out', held_out_fraction=0.0))
    assert 0 < manifest['images'] < FRAMES
    assert 'cut' in manifest['damaged']


def test_a_depth_image_becomes_metres_at_pixels(tmp_path):
    messages = []
    for index in range(6):
        messages += [
            ('/camera/camera_info', index, camera_info(index, (HEIGHT, WIDTH), K)),
            ('/camera/image', index, raw(index, picture(index))),
            ('/depth/image', index, depth_image(index, np.full((HEIGHT, WIDTH), 1.0 + index))),
        ]
    bag = write_bag(tmp_path / 'bag', messages)
    chosen = settings([bag], tmp_path / 'out', topics=['/camera/image'], depth_topics=['/depth/image'])
    chosen.held_out_fraction = 0.0
    manifest = ingest.run(chosen)
    assert manifest['metric_depth'] == 6
    dataset = ShardDataset(tmp_path / 'out')
    for sample in map(dataset.__getitem__, range(6)):
        frame = (sample.meta['stamp_ns'] - START_NS) // PERIOD_NS
        assert np.allclose(sample.points[:, 2], 1.0 + frame)


def test_a_topic_that_is_not_there_is_an_error_that_names_those_that_are(two_bags, tmp_path):
    with pytest.raises(DataError, match='/camera/image'):
        ingest.run(settings(two_bags[:1], tmp_path / 'out', topics=['/front/image']))
    assert not (tmp_path / 'out').exists()


def test_a_path_without_a_bag_is_an_error(tmp_path):
    with pytest.raises(DataError, match='nothing'):
        ingest.run(settings([tmp_path / 'nothing'], tmp_path / 'out'))


def test_a_finished_run_is_not_done_again(two_bags, tmp_path):
    first = ingest.run(settings(two_bags[:1], tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.tar')}
    assert ingest.run(settings(two_bags[:1], tmp_path))['ended'] == first['ended']
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.tar')} == before
