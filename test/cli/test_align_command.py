import csv
import shutil

import cv2
import numpy as np
import pytest
import recordings
from recordings import camera_info, cloud, image, last_line, record, scan, sonar, stamp_ns, transforms
from worlds import LIDAR_POSITION, LIDAR_QUATERNION, POSE, SCALE, SHIFT, Oracle, depth_of, picture_of, points_of

from depth_anything_ros.alignment import Samples
from depth_anything_ros.cli import pipeline
from depth_anything_ros.cli.held_out import split

FRAMES = 12
MOUNT = ('camera_optical_frame', 'lidar', LIDAR_POSITION, LIDAR_QUATERNION)


@pytest.fixture
def align(run, monkeypatch, tmp_path):
    """Run align with an estimator on a bag of messages; returns the exit code and the rows of the CSV."""

    def run_align(messages, *options, estimator=None):
        monkeypatch.setattr(pipeline, 'DepthEstimator', lambda *args, **kwargs: estimator or Oracle())
        bag, table = tmp_path / 'bag', tmp_path / 'rows.csv'
        shutil.rmtree(bag, ignore_errors=True)
        record(bag, sorted(messages, key=lambda item: item[1]))
        code = run('align', bag, '--image-topic', '/camera/image_raw', '--csv', table, '--overwrite', *options)
        if not table.exists():
            return code, []
        with table.open(newline='') as file:
            return code, list(csv.DictReader(file))

    return run_align


def drive(frames=FRAMES):
    """A camera with its calibration."""
    for index in range(frames):
        yield '/camera/image_raw', stamp_ns(index), image(index, picture_of(index))
        yield '/camera/camera_info', stamp_ns(index) + 1, camera_info(index)


def depths(indices=range(FRAMES), factor=lambda index: 1.0, topic='/depth'):
    """A depth camera registered to it, as float32."""
    for index in indices:
        depth = (depth_of(index) * factor(index)).astype(np.float32)
        yield topic, stamp_ns(index) + 5_000_000, image(index, depth, '32FC1')


def clouds(indices=range(FRAMES)):
    for index in indices:
        yield '/lidar', stamp_ns(index) + 20_000_000, cloud(index, points_of(depth_of(index)))


def figure(out, name):
    """A line of the table of the whole: a figure for every source."""
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in out.splitlines() if line.startswith('|')]
    (found,) = [values for heading, *values in lines if heading == name]
    return found


def column(rows, name):
    return np.array([float(row[name] or 'nan') for row in rows])


def test_the_error_is_the_noise_where_the_network_knows_the_shape(align, capsys):
    code, rows = align([*drive(), *depths()], '--alignment-source', 'depth')
    assert code == 0
    assert len(rows) == FRAMES
    assert {row['state'] for row in rows} == {'aligned'}
    # The mean of |x| for 2 % of Gaussian noise.
    np.testing.assert_allclose(column(rows, 'abs_rel'), 0.02 * np.sqrt(2 / np.pi), rtol=0.15)
    np.testing.assert_allclose(column(rows, 'scale'), SCALE, rtol=0.02)
    np.testing.assert_allclose(column(rows, 'shift'), SHIFT, atol=0.004)
    np.testing.assert_allclose(column(rows, 'best_scale'), SCALE, rtol=0.02)
    assert (column(rows, 'abs_rel') < 1.03 * column(rows, 'best_abs_rel')).all()
    assert (column(rows, 'delta1') > 0.999).all()
    assert [int(row['stamp_ns']) for row in rows] == [stamp_ns(index) for index in range(FRAMES)]
    out = capsys.readouterr().out
    assert f'depth: {FRAMES} fits, 0 gated, 0 refused' in out
    assert figure(out, 'with metres') == ['100.0%']
    assert figure(out, 'judged') == ['12']


def test_one_sigma_covers_about_two_thirds_of_what_was_held_out(align):
    _, rows = align([*drive(), *depths()], '--alignment-source', 'depth')
    assert 0.6 < column(rows, 'within_1_sigma').mean() < 0.8
    assert 0.9 < column(rows, 'within_2_sigma').mean() < 0.99


def test_flicker_that_the_alignment_does_not_follow_at_once_shows_against_hindsight(align):
    _, rows = align([*drive(), *depths()], '--alignment-source', 'depth', estimator=Oracle(flicker=0.05))
    assert column(rows, 'abs_rel').mean() > 1.1 * column(rows, 'best_abs_rel').mean()
    np.testing.assert_allclose(column(rows, 'best_abs_rel'), 0.016, rtol=0.2)


def test_what_is_held_out_changes_the_error_and_never_the_fit(align):
    _, right = align([*drive(), *depths()], '--alignment-source', 'depth')

    def spoil(index):
        indices = np.arange(depth_of(index).size)
        _, held = split(Samples(np.zeros((indices.size, 2)), indices), 0.5)
        factor = np.ones(indices.size)
        factor[held.depth_m] = 1.5
        return factor.reshape(depth_of(index).shape)

    _, wrong = align([*drive(), *depths(factor=spoil)], '--alignment-source', 'depth', '--set', 'max_samples=9999')
    for name in ('scale', 'shift', 'scale_sigma', 'state'):
        assert [row[name] for row in right] == [row[name] for row in wrong], name
    np.testing.assert_allclose(column(wrong, 'abs_rel'), 1 / 3, rtol=0.02)


def test_the_share_that_is_held_out_is_what_was_asked_for(align):
    _, rows = align([*drive(2), *depths(range(2))], '--alignment-source', 'depth', '--held-out', '0.2')
    np.testing.assert_allclose(column(rows, 'samples'), 0.2 * 48 * 64, rtol=0.01)


@pytest.mark.parametrize(('samples', 'state'), [(60, 'aligned'), (50, 'aligned'), (45, 'refused')])
def test_what_has_enough_samples_for_the_node_has_enough_with_a_part_held_out(align, samples, state):
    chosen = np.random.default_rng(0).choice(48 * 64, samples, replace=False)
    few = np.full(48 * 64, np.nan)
    few[chosen] = 1.0
    messages = [*drive(2), *depths(range(2), factor=lambda index: few.reshape(48, 64))]
    _, rows = align(messages, '--alignment-source', 'depth', estimator=Oracle(noise=0.0))
    assert [row['state'] for row in rows] == [state] * 2


def test_a_third_topic_is_the_truth(align):
    messages = [*drive(), *depths(), *depths(topic='/truth', factor=lambda index: 2.0)]
    options = ('--alignment-source', 'depth', '--truth', '/truth')
    code, rows = align(messages, *options)
    assert code == 0
    np.testing.assert_allclose(column(rows, 'scale'), SCALE, rtol=0.02)
    np.testing.assert_allclose(column(rows, 'abs_rel'), 0.5, rtol=0.02)
    np.testing.assert_allclose(column(rows, 'samples'), 48 * 64)


def test_truth_that_moved_is_compared_with_the_frame_of_its_moment(align):
    truth = depths(range(0, FRAMES, 3), topic='/truth')
    messages = [*drive(), *depths(), *truth]
    options = ('--alignment-source', 'depth', '--scale-reference', '/depth', '--truth', '/truth')
    _, rows = align(messages, *options)
    assert [index for index, row in enumerate(rows) if int(row['samples'])] == list(range(0, FRAMES, 3))
    assert rows[1]['truth_problem'] == 'no truth of this moment'
    assert column(rows, 'abs_rel')[3] < 0.02


def test_points_go_through_static_transforms_wherever_they_are_logged(align):
    messages = [*drive(), *clouds(), ('/tf_static', stamp_ns(FRAMES), transforms(FRAMES, MOUNT))]
    code, rows = align(messages, '--alignment-source', 'points')
    assert code == 0
    assert {row['state'] for row in rows} == {'aligned'}
    np.testing.assert_allclose(column(rows, 'scale'), SCALE, rtol=0.02)
    assert (column(rows, 'abs_rel') < 0.02).all()


def test_without_transforms_the_reason_is_said_and_extrinsics_help(align, capsys):
    messages = [*drive(), *clouds()]
    code, rows = align(messages, '--alignment-source', 'points')
    assert code == 1
    assert {row['state'] for row in rows} == {'refused'}
    assert all("'lidar'" in row['reason'] for row in rows)
    assert "'lidar'" in last_line(capsys)
    code, rows = align(messages, '--alignment-source', 'points', '--extrinsics', *POSE)
    assert code == 0
    np.testing.assert_allclose(column(rows, 'scale'), SCALE, rtol=0.02)


def test_a_laser_scan_aligns(align):
    # A scanner in the camera's place that looks along the camera's row 25: its plane is the optical x-z plane.
    step = 0.004
    angles = np.arange(-0.45, 0.45, step)
    messages = [*drive()]
    for index in range(FRAMES):
        u = np.rint(31 - 60 * np.tan(angles)).astype(int)
        ranges = depth_of(index)[25, np.clip(u, 0, 63)] / np.cos(angles)
        ranges[(u < 0) | (u > 63)] = np.inf
        messages.append(('/scan', stamp_ns(index), scan(index, ranges, angles[0], step)))
    mount = ('camera_optical_frame', 'laser', (0, 0, 0), LIDAR_QUATERNION)
    messages.append(('/tf_static', stamp_ns(0), transforms(0, mount)))
    options = ('--alignment-source', 'scan', '--truth', '/truth')
    code, rows = align([*messages, *depths(topic='/truth')], *options)
    assert code == 0
    np.testing.assert_allclose(column(rows, 'scale'), SCALE, rtol=0.1)
    assert column(rows, 'abs_rel').mean() < 0.05


def test_evidence_that_stops_ages_out_and_is_told(align, capsys):
    messages = [*drive(), *depths(range(4))]
    code, rows = align(messages, '--alignment-source', 'depth', '--set', 'max_age_s=0.45')
    assert code == 0
    assert [row['state'] for row in rows] == ['aligned'] * 4 + ['kept'] * 4 + ['aged'] * 4
    assert [row['metres'] for row in rows] == ['1'] * 8 + ['0'] * 4
    assert np.isnan(column(rows, 'scale')[8:]).all()
    out = capsys.readouterr().out
    assert figure(out, 'with metres') == ['66.7%']
    assert '4 frames without metres: the last good fit is 0.5 s old' in out


def test_a_wild_fit_is_gated_and_the_error_stays(align):
    messages = [*drive(), *depths(factor=lambda index: 3.0 if index == 8 else 1.0), *depths(topic='/truth')]
    options = ('--alignment-source', 'depth', '--scale-reference', '/depth', '--truth', '/truth')
    _, rows = align(messages, *options)
    assert [row['state'] for row in rows] == ['aligned'] * 8 + ['gated'] + ['aligned'] * 3
    assert rows[8]['reason']
    assert column(rows, 'abs_rel')[8] < 0.03


def test_at_30_hz_a_frame_is_aligned_by_the_evidence_of_its_own_moment(align, monkeypatch):
    monkeypatch.setattr(recordings, 'PERIOD_NS', 33_333_333)
    # Each frame of a scale of its own: evidence of a neighbour shows.
    _, rows = align([*drive(), *depths(factor=lambda index: 1.03**index)], '--alignment-source', 'depth')
    np.testing.assert_allclose(column(rows, 'best_scale')[2:], SCALE / 1.03 ** np.arange(FRAMES)[2:], rtol=0.014)
    assert (np.abs(column(rows, 'age_s')[2:]) < 0.001).all()


def test_several_sources_are_compared_with_one_run_of_the_network(align, capsys):
    estimator = Oracle()
    messages = [*drive(), *depths(), *depths(topic='/truth'), *clouds()]
    messages.append(('/tf_static', stamp_ns(0), transforms(0, MOUNT)))
    sources = ('points', 'depth', 'depth,max_samples=200', 'fixed,scale=0.5,shift=0.05')
    options = [item for source in sources for item in ('--alignment-source', source)]
    topics = ('--scale-reference', '/depth', '--truth', '/truth')
    code, rows = align(messages, *options, *topics, estimator=estimator)
    assert code == 0
    assert estimator.calls == FRAMES
    errors = {source: column([row for row in rows if row['source'] == source], 'abs_rel') for source in sources}
    assert {source: len(error) for source, error in errors.items()} == dict.fromkeys(sources, FRAMES)
    for source in sources[:3]:
        assert (errors[source] < 0.025).all()
    assert (errors[sources[3]] > 0.1).all()
    out = capsys.readouterr().out
    assert figure(out, '') == list(sources)
    shown = [float(value) for value in figure(out, 'AbsRel, mean of frames')]
    np.testing.assert_allclose(shown, [error.mean() for error in errors.values()], atol=1e-4)


def test_the_plot_is_a_picture(align, tmp_path):
    plot = tmp_path / 'plot.png'
    assert align([*drive(), *depths()], '--alignment-source', 'depth', '--plot', plot)[0] == 0
    picture = cv2.imread(str(plot))
    assert min(picture.shape[:2]) > 600
    # Drawn on, and not only with text.
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_without_matplotlib_the_rest_works_and_the_plot_says_what_to_install(align, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr('depth_anything_ros.cli.align_report.importlib.util.find_spec', lambda name: None)
    messages = [*drive(2), *depths(range(2))]
    assert align(messages, '--alignment-source', 'depth', '--plot', tmp_path / 'plot.png') == (1, [])
    assert 'python3-matplotlib' in last_line(capsys)
    assert align(messages, '--alignment-source', 'depth')[0] == 0


def test_a_metric_model_is_judged_as_it_is_or_corrected(align, capsys):
    messages = [*drive(), *depths()]
    options = ('--alignment-source', 'depth')
    code, rows = align(messages, *options, estimator=Oracle('depth'))
    assert code == 0
    assert {row['state'] for row in rows} == {'metric'}
    np.testing.assert_allclose(column(rows, 'abs_rel'), 0.1, rtol=1e-3)
    assert (column(rows, 'best_abs_rel') < 1e-3).all()
    told = 'oracle is a metric model and believed as it is'
    captured = capsys.readouterr()
    assert "depth: the model's own metres" in captured.out
    assert told in captured.err
    _, rows = align(messages, *options, '--set', 'correct_metric_model=true', estimator=Oracle('depth'))
    assert {row['state'] for row in rows} == {'aligned'}
    assert (column(rows, 'abs_rel') < 1e-3).all()
    captured = capsys.readouterr()
    assert f'depth: {FRAMES} fits' in captured.out
    assert told not in captured.err
    assert align(messages, '--scale', '1', '--shift', '0', '--truth', '/depth', estimator=Oracle('depth'))[0] == 2
    assert 'oracle is a metric one: leave them out' in last_line(capsys)


def test_a_source_without_measured_depth_needs_a_third_topic(align, capsys):
    messages = [*drive(), *[('/sonar', stamp_ns(index), sonar(index, 2.5)) for index in range(FRAMES)]]
    floor = 'ground,height_m=1.2,gravity='
    for source in ('fixed,scale=1', f'{floor}parameters', f'{floor}imu', 'none', 'camera'):
        assert align(messages, '--alignment-source', source) == (2, [])
        assert '--truth TOPIC' in last_line(capsys)
    mount = ('camera_optical_frame', 'sonar', (0, 0, 0), LIDAR_QUATERNION)
    messages.append(('/tf_static', stamp_ns(0), transforms(0, mount)))
    assert align(messages, '--alignment-source', 'range') == (2, [])
    assert '--truth TOPIC' in last_line(capsys)


def test_frames_that_cannot_be_decoded_are_counted(align, capsys):
    messages = [*drive(3), *depths(range(3))]
    messages.append(('/camera/image_raw', stamp_ns(3), image(3, picture_of(3), encoding='cmyk')))
    code, rows = align(messages, '--alignment-source', 'depth')
    assert code == 0
    assert len(rows) == 3
    assert "1 of 4 frames skipped, first: encoding 'cmyk'" in last_line(capsys)


def test_quiet_prints_the_whole_only(align, capsys):
    messages = [*drive(2), *depths(range(2))]
    align(messages, '--alignment-source', 'depth')
    assert 'aligned' in capsys.readouterr().out
    align(messages, '--alignment-source', 'depth', '--quiet')
    out = capsys.readouterr().out
    assert 'aligned' not in out
    assert figure(out, 'frames') == ['2']


@pytest.mark.parametrize(
    ('options', 'code', 'words'),
    [
        (['--alignment-source', 'sonar'], 2, "unknown alignment source 'sonar'; there are camera, depth"),
        (['--alignment-source', 'depth,max=3'], 2, 'there is no parameter max; there are depth.max_samples'),
        (
            ['--alignment-source', 'depth', '--set', 'max=3'],
            2,
            'there is no parameter max; there are depth.max_samples',
        ),
        (['--alignment-source', 'depth', '--set', 'points.max_samples=3'], 2, 'no parameter points.max_samples'),
        (['--alignment-source', 'depth', '--set', 'max_samples=many'], 2, 'max_samples=many: expected an integer'),
        (
            ['--alignment-source', 'depth', '--set', 'max_samples=1'],
            2,
            'alignment.depth.max_samples is 1, expected 3 to',
        ),
        (['--alignment-source', 'depth', '--set', 'any_frame=maybe'], 2, 'expected true or false'),
        (['--alignment-source', 'depth', '--set', 'max_age_s=nan'], 2, 'expected a finite number'),
        (['--alignment-source', 'depth', '--set', 'max_samples'], 2, 'expected NAME=VALUE'),
        (['--alignment-source', 'depth', '--scale-reference', '/nowhere'], 2, 'there are /camera/image_raw, /depth'),
        (
            ['--alignment-source', 'depth', '--scale-reference', '/camera/camera_info'],
            2,
            'no topic /camera/camera_info',
        ),
        (['--alignment-source', 'depth', '--remap', 'imu:=/depth'], 2, 'has no topic imu; it has scale_reference'),
        (['--alignment-source', 'points'], 2, 'needs a topic of sensor_msgs/msg/PointCloud2'),
        (['--alignment-source', 'depth', '--truth', '/camera/camera_info'], 2, 'LaserScan; there are'),
        (
            ['--alignment-source', 'depth', '--truth', '/camera/image_raw,max=3'],
            2,
            '--truth: there is no parameter max',
        ),
        (['--scale-reference', '/depth', '--truth', '/depth'], 2, 'the fit would see the truth'),
        (['--alignment-source', 'depth', '--held-out', '1'], 2, '--held-out between 0 and 1'),
        (['--alignment-source', 'depth', '--truth-extrinsics', *'0000001'], 2, 'goes with --truth'),
        (['--alignment-source', 'depth', '--extrinsics', *'0000000'], 2, '--extrinsics: expected'),
        (['--alignment-source', 'depth', '--plot', 'plot.pdf'], 2, '.png'),
        (['--alignment-source', 'depth', '--range-min', '9', '--range-max', '1'], 2, '--range-min < --range-max'),
        (['--alignment-source', 'depth', '--scale', '1', '--shift', '0'], 2, 'exclude each other'),
        (['--scale', '1'], 2, 'go together'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(align, capsys, options, code, words):
    messages = [*drive(2), *depths(range(2))]
    assert align(messages, *options) == (code, [])
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert words in error[0]


def test_files_are_replaced_only_when_asked(run, tmp_path, capsys):
    bag = record(tmp_path / 'bag', [*drive(2), *depths(range(2))])
    (tmp_path / 'rows.csv').write_text('precious')
    options = ('--alignment-source', 'depth', '--csv', tmp_path / 'rows.csv')
    assert run('align', bag, *options) == 1
    assert '--overwrite' in last_line(capsys)
    assert (tmp_path / 'rows.csv').read_text() == 'precious'


def test_a_network_without_a_clue_is_refused(align, capsys):
    code, rows = align([*drive(), *depths()], '--alignment-source', 'depth', estimator=Oracle(noise=50.0))
    assert code == 1
    assert {row['state'] for row in rows} == {'refused'}
    assert 'no frame has both metres and truth' in last_line(capsys)


def test_a_real_bag_of_a_depth_camera(run, shared_data, tmp_path, capsys):
    folder = shared_data / 'hololens'
    messages = []
    for index, path in enumerate(sorted((folder / 'rgb').iterdir())[:6]):
        rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        depth = cv2.imread(str(folder / 'depth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED)
        messages.append(('/rgb', stamp_ns(index), image(index, rgb)))
        messages.append(('/depth', stamp_ns(index), image(index, depth, '16UC1')))
    bag = record(tmp_path / 'bag', messages)
    options = ('--image-topic', '/rgb', '--scale-reference', '/depth', '--set', 'min_explained=-1')
    # A network with random weights: whether it can be aligned is chance, but there must be an answer for every frame.
    assert run('align', bag, *options) in (0, 1)
    assert capsys.readouterr().out.count('0.') > 6
