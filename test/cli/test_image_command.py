import resource

import cv2
import numpy as np
import pytest
import yaml
from ply_files import read_ply
from worlds import Oracle

from depth_anything_ros import checkpoints
from depth_anything_ros.cli import pipeline
from depth_anything_ros.cli.files import write_depth
from depth_anything_ros.network import DepthAnything

SCALE, SHIFT = 0.4, 0.05
METRES = ('--scale', SCALE, '--shift', SHIFT)
EVERYWHERE = ('--edge-threshold', 0, '--range-min', 0, '--range-max', 1000)


@pytest.fixture
def save(tmp_path):
    def save_picture(name, image):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return path

    return save_picture


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_disparity_is_written_as_it_is(run, predict, picture, save, tmp_path):
    path, out = save('a.png', picture()), tmp_path / 'out'
    assert run('image', path, '--output', out, '--format', 'npy') == 0
    assert names(out) == ['a_color.png', 'a_depth.npy']
    disparity = np.load(out / 'a_depth.npy')
    assert disparity.dtype == np.float32
    np.testing.assert_allclose(disparity, predict(picture()), rtol=1e-5)
    beside = cv2.cvtColor(cv2.imread(str(out / 'a_color.png')), cv2.COLOR_BGR2RGB)
    assert beside.shape == (48, 128, 3)
    assert np.array_equal(beside[:, :64], picture())


def test_disparity_as_png_spans_16_bits(run, predict, picture, save, tmp_path):
    assert run('image', save('a.png', picture()), '--output', tmp_path / 'out') == 0
    found = cv2.imread(str(tmp_path / 'out' / 'a_depth.png'), cv2.IMREAD_UNCHANGED)
    disparity = predict(picture())
    expected = (disparity - disparity.min()) / (disparity.max() - disparity.min()) * 65535
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found, expected, atol=1.0)


def test_scale_and_shift_give_millimetres_and_a_cloud(run, predict, picture, save, tmp_path):
    out = tmp_path / 'out'
    assert run('image', save('a.png', picture()), '--output', out, *METRES, *EVERYWHERE, '--fov', 90) == 0
    depth = 1 / (SCALE * predict(picture()) + SHIFT)
    found = cv2.imread(str(out / 'a_depth.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(found, depth * 1000, atol=0.6)
    cloud = read_ply(out / 'a.ply')
    assert len(cloud) == depth.size
    np.testing.assert_allclose(cloud['z'], depth.ravel(), rtol=1e-5)
    # 90 degrees from edge to edge: the focal length is half the width.
    u = np.broadcast_to(np.arange(64), depth.shape)
    np.testing.assert_allclose(cloud['x'], ((u - 31.5) / 32 * depth).ravel(), rtol=1e-5)
    assert np.array_equal(np.stack([cloud[name] for name in ('red', 'green', 'blue')], -1), picture().reshape(-1, 3))


def test_range_and_stride_thin_the_cloud(run, predict, picture, save, tmp_path):
    depth = 1 / (SCALE * predict(picture()) + SHIFT)
    middle = float(np.median(depth))
    options = ('--edge-threshold', 0, '--range-max', middle, '--fov', 60)
    assert run('image', save('a.png', picture()), '--output', tmp_path / 'out', *METRES, *options, '--stride', 2) == 0
    assert len(read_ply(tmp_path / 'out' / 'a.ply')) == np.count_nonzero(depth[::2, ::2] <= middle)
    found = cv2.imread(str(tmp_path / 'out' / 'a_depth.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found == 0, depth > middle)


def test_a_metric_model_gives_metres(run, picture, save, tmp_path, monkeypatch):
    network = DepthAnything.from_name('v2-small-indoor')
    checkpoints.save(network, tmp_path / 'indoor.safetensors')
    model = ('--checkpoint', str(tmp_path / 'indoor.safetensors'), '--input-size', '42', '--backend', 'torch')
    assert (
        run('image', save('a.png', picture()), '--output', tmp_path / 'out', *EVERYWHERE, '--fov', 60, model=model) == 0
    )
    expected = pipeline.DepthEstimator(network, precision='auto', backend='torch', input_size=42)(picture()).values
    found = cv2.imread(str(tmp_path / 'out' / 'a_depth.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(found, expected * 1000, atol=0.6)
    assert (tmp_path / 'out' / 'a.ply').exists()


def test_scale_and_shift_for_a_metric_model_are_refused(run, picture, save, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, 'DepthEstimator', lambda *args, **kwargs: Oracle('depth'))
    assert run('image', save('a.png', picture()), '--output', tmp_path / 'out', '--scale', 5, '--shift', 0) == 2
    assert '--scale and --shift are for a relative model, and oracle is a metric one' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_calibration_file_makes_the_camera(run, predict, picture, save, tmp_path, capsys):
    calibration = {
        'image_width': 64,
        'image_height': 48,
        'distortion_model': 'plumb_bob',
        'camera_matrix': {'rows': 3, 'cols': 3, 'data': [50.0, 0, 30, 0, 52, 20, 0, 0, 1]},
        'distortion_coefficients': {'rows': 1, 'cols': 5, 'data': [0.0] * 5},
    }
    (tmp_path / 'camera.yaml').write_text(yaml.safe_dump(calibration))
    paths = save('a.png', picture()), save('b.png', picture(1, 30, 64))
    options = (*METRES, *EVERYWHERE, '--camera-info', tmp_path / 'camera.yaml')
    assert run('image', *paths, '--output', tmp_path / 'out', *options) == 1
    cloud = read_ply(tmp_path / 'out' / 'a.ply')
    v = np.broadcast_to(np.arange(48)[:, None], (48, 64)).ravel()
    np.testing.assert_allclose(cloud['y'], (v - 20) / 52 * cloud['z'], rtol=1e-4, atol=1e-6)
    assert 'b.png: the image is 64x30, expected 64x48' in capsys.readouterr().err


def test_no_metres_no_cloud_is_said_once(run, picture, save, tmp_path, capsys):
    paths = [save(f'{i}.png', picture(i)) for i in range(3)]
    assert run('image', *paths, '--output', tmp_path / 'out', '--fov', 60) == 0
    assert not list((tmp_path / 'out').glob('*.ply'))
    assert capsys.readouterr().err.count('no PLY') == 1


def test_an_unreadable_picture_is_reported_and_the_rest_done(run, picture, save, tmp_path, capsys):
    good = save('good.png', picture())
    bad, empty, ribbon = tmp_path / 'bad.png', tmp_path / 'empty.jpg', save('ribbon.png', picture(0, 4, 64))
    bad.write_bytes(b'not a picture')
    empty.touch()
    assert run('image', bad, good, empty, ribbon, '--output', tmp_path / 'out') == 1
    assert names(tmp_path / 'out') == ['good_color.png', 'good_depth.png']
    captured = capsys.readouterr()
    assert all(str(path) in captured.err for path in (bad, empty, ribbon))
    assert 'Traceback' not in captured.err
    assert '1 of 4 images' in captured.out


def test_a_picture_that_there_is_no_memory_for_is_reported_and_the_rest_done(
    run, picture, save, tmp_path, capsys, crowded_gpu
):
    paths = save('large.png', picture()), save('small.png', picture(1))
    assert run('image', *paths, '--output', tmp_path / 'out') == 1
    assert names(tmp_path / 'out') == ['small_color.png', 'small_depth.png']
    assert "large.png: 'cpu' is out of memory (CUDA out of memory. Tried" in capsys.readouterr().err


def test_folders_keep_their_structure(run, picture, save, tmp_path):
    save('x/a.png', picture())
    save('y/a.png', picture(1))
    (tmp_path / 'in' / 'notes.txt').write_text('no picture')
    out = tmp_path / 'in' / 'out'
    for _ in range(2):  # the second time with the results of the first in the folder
        assert run('image', tmp_path / 'in', '--output', out, '--overwrite') == 0
        assert names(out) == [f'{folder}/a_{kind}.png' for folder in 'xy' for kind in ('color', 'depth')]


@pytest.mark.parametrize('others', [('a.png', 'a.jpg'), ('x/a.png', 'y/a.png')])
def test_two_results_of_one_name_are_refused_before_any_work(run, picture, save, tmp_path, capsys, others):
    paths = [save(name, picture()) for name in others]
    assert run('image', *paths, '--output', tmp_path / 'out') == 2
    error = capsys.readouterr().err
    assert all(str(path) in error for path in paths)
    assert not (tmp_path / 'out').exists()


def test_results_are_replaced_only_when_asked(run, picture, save, tmp_path, capsys):
    path, out = save('a.png', picture()), tmp_path / 'out'
    assert run('image', path, '--output', out) == 0
    before = (out / 'a_depth.png').read_bytes()
    save('a.png', picture(1))
    assert run('image', path, '--output', out) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert (out / 'a_depth.png').read_bytes() == before
    assert run('image', path, '--output', out, '--overwrite') == 0
    assert (out / 'a_depth.png').read_bytes() != before


@pytest.mark.parametrize(
    ('options', 'code', 'words'),
    [
        (['nowhere.png'], 1, 'no such file'),
        (['{in}', '--output', '{in}'], 2, 'is the folder of the pictures'),
        (['{a}', '--scale', '1'], 2, 'go together'),
        (['{a}', '--scale', '-1', '--shift', '0'], 2, 'alignment.fixed.scale is -1'),
        (['{a}', '--range-min', '5', '--range-max', '2'], 2, '--range-min < --range-max'),
        (['{a}', '--edge-threshold', '-1'], 2, '--edge-threshold'),
        (['{a}', '--fov', '180'], 2, '--fov'),
        (['{a}', '--camera-info', '{a}'], 1, 'not readable as YAML'),
        (['{a}', '--camera-info', '{in}/k.yaml'], 1, 'size 0x0'),
        (['{a}', '--input-size', '43'], 2, 'multiple of 14'),
        (['{a}', '--device', 'cuda:99'], 1, "device 'cuda:99'"),
        (['{a}', '--model', 'v9-huge'], 1, 'unknown model'),
        (['{a}', '--model', 'v2-small', '--checkpoint', 'nowhere.pth'], 1, 'nowhere.pth'),
        (['{a}', '--model', 'v2-large'], 1, 'licence'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, picture, save, tmp_path, capsys, options, code, words):
    path = save('a.png', picture())
    (tmp_path / 'in' / 'k.yaml').write_text('{}')
    places = {'a': path, 'in': path.parent}
    options = [option.format(**places) for option in options]
    output = [] if '--output' in options else ['--output', str(tmp_path / 'out')]
    base = ('--model', 'untrained-small') if '--model' not in options else ()
    assert run('image', *options, *output, model=base) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if 'weights are random' not in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / 'out').exists()


def test_an_empty_folder_is_an_error(run, tmp_path, capsys):
    assert run('image', tmp_path, '--output', tmp_path / 'out') == 1
    assert 'no pictures' in capsys.readouterr().err


def test_without_a_model_the_packaged_one_is_run(run, picture, save, tmp_path):
    path, out = save('a.png', picture()), tmp_path / 'out'
    assert run('image', path, '--output', out, '--format', 'npy', model=()) == 0
    expected = pipeline.DepthEstimator('tiny', backend='torch')(picture()).values
    np.testing.assert_allclose(np.load(out / 'a_depth.npy'), expected, rtol=1e-4, atol=1e-5)


def test_an_untrained_model_says_that_its_depth_means_nothing(picture, save, tmp_path, capsys):
    from depth_anything_ros.cli.main import main

    options = ['--model', 'untrained-small', '--input-size', '42', '--backend', 'torch']
    assert main(['image', str(save('a.png', picture())), '--output', str(tmp_path / 'out'), *options]) == 0
    assert 'its depth means nothing' in capsys.readouterr().err


@pytest.mark.parametrize('file_format', ['png', 'npy'])
def test_a_full_disk_is_an_error_and_leaves_no_file(picture, tmp_path, file_format):
    disparity = picture()[..., 0].astype(np.float32)
    whole, cut = tmp_path / f'whole.{file_format}', tmp_path / f'cut.{file_format}'
    write_depth(whole, None, disparity)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Short by less than what a buffer holds, which only the last write notices.
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size - 1, before[1]))
    try:
        with pytest.raises(OSError, match=r'\[Errno'):
            write_depth(cut, None, disparity)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == [whole.name]


def test_ctrl_c_ends_with_130_and_whole_files(run, picture, save, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('depth_anything_ros.cli.image.write_picture', interrupt)
    assert run('image', save('a.png', picture()), '--output', tmp_path / 'out') == 130
    assert names(tmp_path / 'out') == ['a_depth.png']
    assert capsys.readouterr().err.splitlines()[-1].endswith('interrupted')


def test_real_photos(run, shared_data, tmp_path):
    photos = sorted((shared_data / 'euroc_cam0').glob('*.png'))[:2]
    assert run('image', *photos, '--output', tmp_path / 'out', *METRES, '--fov', 78) == 0
    assert len(names(tmp_path / 'out')) == 6
