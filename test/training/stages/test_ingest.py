"""Bags become shards: what is kept, what is dropped and counted, and the same bytes however it was done."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_messages import (
    PERIOD_NS,
    START_NS,
    camera_info,
    depth_image,
    jpeg,
    point_cloud,
    raw,
    transforms,
    write_bag,
)
from rosbags.rosbag2 import StoragePlugin

from training.data import ShardDataset
from training.errors import DataError, MismatchError
from training.ingest.discovery import find_bags
from training.stages import ingest

HEIGHT, WIDTH = 240, 320
K = [230.0, 0.0, 160.0, 0.0, 230.0, 120.0, 0.0, 0.0, 1.0]
FRAMES = 24
# A lens that bends straight lines, and the camera that its rectified image is of.
D = [-0.3, 0.08, 0.002, -0.003, 0.01]
NEW_K = [170.0, 0.0, 157.0, 0.0, 175.0, 122.0, 0.0, 0.0, 1.0]


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


@pytest.mark.parametrize('plugin', list(StoragePlugin), ids=str)
def test_a_camera_that_stops_before_the_log_ends_has_frames_held_out(tmp_path, plugin):
    messages = [('/camera/image', index, raw(index, picture(index))) for index in range(FRAMES)]
    messages += [('/tf', index, transforms(index)) for index in range(FRAMES, FRAMES + 12)]
    manifest = ingest.run(settings([write_bag(tmp_path / 'bag', messages, plugin)], tmp_path / 'out'))
    assert manifest['held_out'] == 6


def test_a_camera_that_starts_long_after_the_log_has_frames_for_both(tmp_path):
    messages = [('/tf', 0, transforms(0))]
    messages += [('/camera/image', index, raw(index, picture(index))) for index in range(1000, 1000 + FRAMES)]
    late = ingest.run(settings([write_bag(tmp_path / 'late', messages)], tmp_path / 'out'))
    alone = ingest.run(settings([write_bag(tmp_path / 'alone', messages[1:])], tmp_path / 'other'))
    assert (late['train'], late['held_out']) == (alone['train'], alone['held_out'])
    assert late['held_out'] == 6


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


def test_a_bayer_mosaic_in_jpeg_becomes_a_picture_in_colour(tmp_path):
    rows, columns = np.indices((HEIGHT, WIDTH)) % 2

    def mosaic(index, image):
        red, green, blue = np.moveaxis(image, -1, 0)
        grey = np.where(rows + columns == 1, green, np.where(rows == 0, red, blue))
        message = jpeg(index, image)
        data = cv2.imencode('.jpg', grey, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].ravel()
        message.data, message.format = data, 'bayer_rggb8; jpeg compressed '
        return message

    bag = drive(tmp_path / 'bag', 0, mosaic, '/camera/image/compressed')
    ingest.run(settings([bag], tmp_path / 'out', held_out_fraction=0.0))
    sample = ShardDataset(tmp_path / 'out')[0]
    true = picture((sample.meta['stamp_ns'] - START_NS) // PERIOD_NS)
    # Of blocks of 8 pixels, the inner ones.
    centres = np.s_[4::8, 4::8]
    assert np.abs(sample.image[centres].astype(int) - true[centres]).mean() < 8


def test_a_bag_that_was_cut_off_gives_what_it_has(tmp_path):
    # An MCAP without an end, as when the robot's battery was empty.
    bag = drive(tmp_path / 'whole', plugin=StoragePlugin.MCAP)
    whole = next(bag.glob('*.mcap')).read_bytes()
    path = tmp_path / 'cut.mcap'
    path.write_bytes(whole[: len(whole) * 2 // 3])
    manifest = ingest.run(settings([path], tmp_path / 'out', held_out_fraction=0.0))
    assert 0 < manifest['images'] < FRAMES
    assert 'cut' in manifest['damaged']


@pytest.mark.parametrize(
    ('frame', 'any_frame', 'late_s', 'expected', 'said'),
    [
        ('camera', False, 0.0, 6, ''),
        ('camera', False, 0.4, 6, ''),
        ('camera', False, 1.0, 0, 'no measurement with a stamp within max_time_difference_s'),
        ('depth', False, 0.0, 0, "the depth image is in frame 'depth'"),
        ('depth', True, 0.0, 6, ''),
    ],
)
def test_a_depth_image_becomes_metres_at_pixels(tmp_path, frame, any_frame, late_s, expected, said):
    messages = []
    for index in range(6):
        messages += [
            ('/camera/camera_info', index, camera_info(index, (HEIGHT, WIDTH), K)),
            ('/camera/image', index, raw(index, picture(index))),
            (
                '/depth/image',
                index + late_s * 1e9 / PERIOD_NS,
                depth_image(index, np.full((HEIGHT, WIDTH), 1.0 + index), frame),
            ),
        ]
    bag = write_bag(tmp_path / 'bag', messages)
    chosen = settings([bag], tmp_path / 'out', topics=['/camera/image'], depth_topics=['/depth/image'])
    chosen.held_out_fraction, chosen.any_frame = 0.0, any_frame
    manifest = ingest.run(chosen)
    assert manifest['metric_depth'] == expected
    problems = manifest['problems'].get('bag', {})
    assert sum(problems.values()) == 6 - expected
    assert all(problem.startswith(f'/depth/image: {said}') for problem in problems)
    dataset = ShardDataset(tmp_path / 'out')
    for sample in map(dataset.__getitem__, range(expected)):
        number = (sample.meta['stamp_ns'] - START_NS) // PERIOD_NS
        assert np.allclose(sample.points[:, 2], 1.0 + number)


def as_matrix(k):
    return np.reshape(k, (3, 3))


def projected(points, k, d=(0.0,) * 5):
    """Pixels of points (N, 3) before the camera, by OpenCV."""
    return cv2.projectPoints(np.float64(points), np.zeros(3), np.zeros(3), as_matrix(k), np.float64(d))[0][:, 0]


def pixel_grid():
    """All pixels (H * W, 2), row by row."""
    return np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 2).astype(np.float64)


def lines_seen_by_the_lens(axis):
    """What D makes of dark lines, 3 px wide, at 0, 40, 80 ... along an axis of the rectified image."""
    places = cv2.undistortPoints(pixel_grid()[:, None], as_matrix(K), np.array(D), P=as_matrix(NEW_K))[:, 0, axis]
    from_line = np.abs((places + 20) % 40 - 20)
    grey = 230 * np.clip(from_line - 1, 0, 1).reshape(HEIGHT, WIDTH, 1)
    return np.repeat(grey, 3, 2).astype(np.uint8)


def middle_of_the_line(image, place):
    """In each row, to a fraction of a pixel, that of the dark line near a column."""
    columns = np.arange(place - 6, place + 7)
    ink = 230.0 - image[:, columns]
    return (ink * columns).sum(1) / ink.sum(1)


@pytest.mark.parametrize('axis', [0, 1])
def test_undistorted_straight_lines_are_straight_and_k_is_that_of_p(axis, tmp_path):
    messages = [
        ('/camera/camera_info', 0, camera_info(0, (HEIGHT, WIDTH), K, D, NEW_K)),
        ('/camera/image', 0, raw(0, lines_seen_by_the_lens(axis))),
    ]
    bag = write_bag(tmp_path / 'bag', messages)
    samples = {}
    for undistort in (True, False):
        output = tmp_path / str(undistort)
        ingest.run(settings([bag], output, undistort=undistort, held_out_fraction=0.0, encoding='png'))
        samples[undistort] = ShardDataset(output)[0]
    straight, bent = samples[True], samples[False]
    assert np.array_equal(straight.meta['K'], as_matrix(NEW_K))
    assert 'D' not in straight.meta
    assert np.array_equal(bent.meta['K'], as_matrix(K))
    assert np.array_equal(bent.meta['D'][:5], D)
    # Where the lens saw nothing is said; a pixel on the very edge may be either.
    rays = np.column_stack([pixel_grid(), np.ones(HEIGHT * WIDTH)]) @ np.linalg.inv(as_matrix(NEW_K)).T
    in_raw = projected(rays, K, D)
    from_edge = np.column_stack([in_raw, (WIDTH - 1, HEIGHT - 1) - in_raw]).min(1)
    seen = (from_edge > 0).reshape(HEIGHT, WIDTH)
    assert 0.1 < seen.mean() < 0.9
    assert not (straight.valid != seen).ravel()[np.abs(from_edge) > 0.01].any()
    assert (straight.image[~straight.valid] == 0).all()
    image, valid = straight.image[..., 0], straight.valid
    if axis == 1:
        image, valid = image.T, valid.T
    for place in (80, 120, 160):
        rows = valid[:, place - 6 : place + 7].all(1)
        assert rows.sum() > 150
        assert np.abs(middle_of_the_line(image[rows], place) - place).max() < 0.3


# The camera looks ten degrees down; its optical frame has z forward. The LiDAR is above and behind it.
TILT = np.deg2rad(10)
TILTED = np.array([[np.cos(TILT), 0, np.sin(TILT)], [0, 1, 0], [-np.sin(TILT), 0, np.cos(TILT)]])
OPTICAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
CAMERA_AT, LIDAR_AT = np.array([0.1, 0.02, 0.5]), np.array([-0.2, 0.0, 0.8])
NOT_TURNED = (0.0, 0.0, 0.0, 1.0)


def sensors(index):
    return transforms(
        index,
        ('base', 'mount', CAMERA_AT, (0.0, np.sin(TILT / 2), 0.0, np.cos(TILT / 2))),
        ('mount', 'camera', np.zeros(3), (-0.5, 0.5, -0.5, 0.5)),
        ('base', 'lidar', LIDAR_AT, NOT_TURNED),
    )


def in_lidar(points):
    """Points (N, 3) of the camera's frame."""
    return points @ (TILTED @ OPTICAL).T + CAMERA_AT - LIDAR_AT


def surroundings():
    """A wall 4 to 6 m before the camera that is larger than its image, and one behind it; (N, 3) in its frame."""
    columns, rows = np.meshgrid(np.linspace(-70, WIDTH + 70, 21), np.linspace(-60, HEIGHT + 60, 16))
    depth = 1 / (0.2 + (columns.ravel() - 160) / 5000)
    wall = np.column_stack([columns.ravel() - 160, rows.ravel() - 120, np.full(depth.size, 230)]) * depth[:, None] / 230
    # Through a pinhole it would be in the image, upside down.
    return wall, wall * (0.5, 0.5, -1)


def inside(pixels):
    return ((pixels > -0.5) & (pixels < (WIDTH - 0.5, HEIGHT - 0.5))).all(1)


def assert_same_points(found, expected):
    """Both (N, 3), in any order: 0.01 px and 1 cm."""
    assert len(found) == len(expected)
    apart = np.abs(found[:, None] - expected).max(-1)
    assert apart.min(0).max() < 0.01
    assert apart.min(1).max() < 0.01


@pytest.mark.parametrize('lens', ['without distortion', 'distorted', 'undistorted'])
def test_points_of_a_lidar_are_where_they_are_projected_by_hand_and_none_that_the_camera_cannot_see(lens, tmp_path):
    d = np.zeros(5) if lens == 'without distortion' else D
    wall, behind = surroundings()
    cloud = np.concatenate([in_lidar(behind), in_lidar(wall), np.full((4, 3), np.nan)])
    messages = []
    for index in range(4):
        messages += [
            ('/camera/camera_info', index, camera_info(index, (HEIGHT, WIDTH), K, d, NEW_K)),
            ('/camera/image', index, raw(index, picture(index))),
        ]
        if index != 2:
            messages.append(('/lidar', index, point_cloud(index, cloud, 'lidar')))
    # Where the sensors are may come last, when the recorder began before whoever publishes it.
    bag = write_bag(tmp_path / 'bag', [*messages, ('/tf_static', 3, sensors(3))])
    undistort = lens == 'undistorted'
    chosen = settings([bag], tmp_path / 'out', cloud_topics=['/lidar'], undistort=undistort, held_out_fraction=0.0)
    manifest = ingest.run(chosen)
    assert (manifest['images'], manifest['metric_depth']) == (4, 3)
    ((problem, count),) = manifest['problems']['bag'].items()
    assert (problem.partition(':')[0], count) == ('/lidar', 1)
    pixels = projected(wall, K, d)
    seen = inside(pixels)
    if undistort:
        pixels = projected(wall, NEW_K)
        seen &= inside(pixels)
    assert 50 < seen.sum() < 0.8 * len(wall)
    expected = np.column_stack([pixels, wall[:, 2]])[seen]
    dataset = ShardDataset(tmp_path / 'out')
    for index, sample in enumerate(map(dataset.__getitem__, range(4))):
        if index == 2:
            assert sample.points is None
        else:
            assert_same_points(sample.points, expected)


@pytest.mark.parametrize('fixed_frame', ['odom', ''])
def test_a_fixed_frame_accounts_for_what_the_robot_drove_between_cloud_and_image(fixed_frame, tmp_path):
    wall, _ = surroundings()
    messages = [('/tf_static', 0, sensors(0))]
    for index in range(4):
        messages += [
            ('/camera/camera_info', index, camera_info(index, (HEIGHT, WIDTH), K)),
            ('/lidar', index - 0.08, point_cloud(index - 0.08, in_lidar(wall), 'lidar')),  # 40 ms before the image
            ('/camera/image', index, raw(index, picture(index))),
        ]
    # 1 m in half a second, forwards; said 30 ms late.
    for index in np.arange(-0.2, 3.3, 0.1):
        drive_to = transforms(index, ('odom', 'base', (index, 0.0, 0.0), NOT_TURNED))
        messages.append(('/tf', index + 0.06, drive_to))
    bag = write_bag(tmp_path / 'bag', sorted(messages, key=lambda message: message[1]))
    chosen = settings([bag], tmp_path / 'out', cloud_topics=['/lidar'], fixed_frame=fixed_frame, held_out_fraction=0.0)
    assert ingest.run(chosen)['metric_depth'] == 4
    driven = np.array([0.08 if fixed_frame else 0.0, 0.0, 0.0]) @ TILTED @ OPTICAL
    now = wall - driven
    pixels = projected(now, K)
    expected = np.column_stack([pixels, now[:, 2]])[inside(pixels)]
    assert_same_points(ShardDataset(tmp_path / 'out')[1].points, expected)


def test_a_topic_that_is_not_there_is_an_error_that_names_those_that_are(two_bags, tmp_path):
    with pytest.raises(DataError, match='/camera/image'):
        ingest.run(settings(two_bags[:1], tmp_path / 'out', topics=['/front/image']))
    for name, kind in (('depth_topics', 'depth images'), ('cloud_topics', 'point clouds')):
        with pytest.raises(DataError, match=f'no {kind} .* on /dpeth in any bag'):
            ingest.run(settings(two_bags, tmp_path / 'out', **{name: ['/dpeth']}))
    assert not (tmp_path / 'out').exists()
    # It may be in one that cannot be read.
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(b'no bag')
    manifest = ingest.run(settings([two_bags[0], broken], tmp_path / 'out', depth_topics=['/dpeth']))
    assert 'broken' in ''.join(manifest['unreadable'])


def test_a_bag_that_was_mended_since_makes_another_run(tmp_path):
    """Its messages are the same; but what is there already is without it, and numbered without it."""
    monday = drive(tmp_path / 'monday')
    tuesday = drive(tmp_path / 'tuesday', 100)
    metadata = monday / 'metadata.yaml'
    whole = metadata.read_text()
    metadata.write_text('')
    chosen = settings([monday, tuesday], tmp_path / 'out')
    first = ingest.run(chosen)
    assert list(first['unreadable']) == ['monday']
    assert ingest.run(chosen)['ended'] == first['ended']
    metadata.write_text(whole)
    with pytest.raises(MismatchError, match='monday'):
        ingest.run(chosen)
    assert ingest.run(settings([monday, tuesday], tmp_path / 'again'))['frames'] == 2 * FRAMES


def test_topics_that_share_a_calibration_all_follow_it(tmp_path):
    half, zoomed = FRAMES // 2, [1.3 * K[0], 0.0, 160.0, 0.0, 1.3 * K[4], 120.0, 0.0, 0.0, 1.0]
    messages = []
    for index in range(FRAMES):
        messages.append(
            ('/camera/camera_info', index, camera_info(index, (HEIGHT, WIDTH), K if index < half else zoomed))
        )
        messages += [(f'/camera/{name}', index, raw(index, picture(index))) for name in ('image_color', 'image_mono')]
    bag = write_bag(tmp_path / 'bag', messages)
    ingest.run(settings([bag], tmp_path / 'out', held_out_fraction=0.0))
    dataset = ShardDataset(tmp_path / 'out')
    seen = {
        (meta['topic'], meta['sequence']): meta['K'][0][0] for meta in (dataset[i].meta for i in range(len(dataset)))
    }
    for topic in ('/camera/image_color', '/camera/image_mono'):
        assert seen[topic, half - 2] == pytest.approx(K[0])
        assert seen[topic, FRAMES - 1] == pytest.approx(zoomed[0])


def test_what_cannot_be_looked_into_beside_the_bags_is_passed_over(tmp_path, monkeypatch, caplog):
    drive(tmp_path / 'logs' / 'monday')
    (tmp_path / 'logs' / 'latest').symlink_to(tmp_path / 'gone')
    (tmp_path / 'logs' / 'again').symlink_to(tmp_path / 'logs')
    (tmp_path / 'logs' / 'round').symlink_to(tmp_path / 'logs' / 'round')
    os.mkfifo(tmp_path / 'logs' / 'pipe')
    (tmp_path / 'logs' / 'lost+found').mkdir()
    iterdir = Path.iterdir

    def refuse(path):  # what nobody refuses to root
        if path.name == 'lost+found':
            raise PermissionError(13, 'Permission denied', str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, 'iterdir', refuse)
    assert [bag.name for bag in find_bags([str(tmp_path / 'logs')])] == ['monday']
    assert 'lost+found cannot be read' in caplog.text


def test_bags_whose_names_become_one_word_are_told_apart(tmp_path):
    drive(tmp_path / 'run.1')
    drive(tmp_path / 'run_1', 100)
    names = [bag.name for bag in find_bags([str(tmp_path)])]
    assert len({*names}) == 2
    assert all(name.split('/')[-1].startswith('run_1') for name in names)
    assert names == [bag.name for bag in find_bags([str(tmp_path)])]


def test_a_path_without_a_bag_is_an_error(tmp_path):
    with pytest.raises(DataError, match='nothing'):
        ingest.run(settings([tmp_path / 'nothing'], tmp_path / 'out'))


def test_a_finished_run_is_not_done_again(two_bags, tmp_path):
    first = ingest.run(settings(two_bags[:1], tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.tar')}
    assert ingest.run(settings(two_bags[:1], tmp_path))['ended'] == first['ended']
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.tar')} == before
