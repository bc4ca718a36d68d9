from pathlib import Path

import cv2
import numpy as np
import pytest

WRITER = cv2.VideoWriter


@pytest.fixture
def video(tmp_path, picture):
    return record(tmp_path / 'in.avi', picture, 5)


def record(path, picture, count):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12.5, (64, 48))
    for index in range(count):
        writer.write(cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (found := capture.read())[0]:
        frames.append(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB))
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_every_frame_comes_out_beside_its_depth(run, video, tmp_path, capsys):
    assert run('video', video, '--output', tmp_path / 'out.mp4') == 0
    frames, fps = read(tmp_path / 'out.mp4')
    originals, _ = read(video)
    assert len(frames) == len(originals) == 5
    assert fps == pytest.approx(12.5)
    for frame, original in zip(frames, originals, strict=True):
        assert frame.shape == (48, 128, 3)
        assert np.abs(frame[:, :64].astype(int) - original).mean() < 8  # both are lossy
    assert '5 frames' in capsys.readouterr().out


def test_depth_of_every_frame_is_written(run, predict, video, tmp_path):
    options = ('--depth-dir', tmp_path / 'depth', '--format', 'npy', '--scale', 0.5, '--shift', 0.1)
    open_range = ('--edge-threshold', 0, '--range-max', 1000)
    assert run('video', video, '--output', tmp_path / 'out.mp4', *options, *open_range) == 0
    paths = sorted((tmp_path / 'depth').iterdir())
    assert [path.name for path in paths] == [f'{index:06d}_depth.npy' for index in range(5)]
    for path, frame in zip(paths, read(video)[0], strict=True):
        np.testing.assert_allclose(np.load(path), 1 / (0.5 * predict(frame) + 0.1), rtol=1e-4)


@pytest.mark.parametrize('content', [b'', b'not a video'])
def test_an_unreadable_video_is_one_line(run, tmp_path, capsys, content):
    (tmp_path / 'bad.mp4').write_bytes(content)
    assert run('video', tmp_path / 'bad.mp4', '--output', tmp_path / 'out.mp4') == 1
    lines = capsys.readouterr().err.splitlines()
    assert 'not a video' in lines[-1]
    assert not (tmp_path / 'out.mp4').exists()


def test_a_video_without_frames_is_an_error(run, tmp_path, capsys):
    path = tmp_path / 'empty.avi'
    cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48)).release()
    assert run('video', path, '--output', tmp_path / 'out.mp4') == 1
    assert str(path) in capsys.readouterr().err


def test_a_video_cut_off_gives_what_it_has_and_a_warning(run, picture, tmp_path, capsys):
    video = record(tmp_path / 'in.avi', picture, 40)
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    code = run('video', video, '--output', tmp_path / 'out.mp4')
    captured = capsys.readouterr()
    frames = read(tmp_path / 'out.mp4')[0]
    assert code == 0
    assert 0 < len(frames) < 40
    assert f'{len(frames)} of 40 frames could be decoded' in captured.err


def test_paths_are_checked_first(run, video, tmp_path, capsys):
    (tmp_path / 'there.mp4').touch()
    for output, code, words in (('out.avi', 2, '.mp4'), ('there.mp4', 1, '--overwrite')):
        assert run('video', video, '--output', tmp_path / output) == code
        assert words in capsys.readouterr().err
    assert run('video', tmp_path / 'nowhere.avi', '--output', tmp_path / 'out.mp4') == 1
    assert 'no such file' in capsys.readouterr().err


def test_an_interrupted_run_leaves_no_video(run, video, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('depth_anything_ros.cli.video.side_by_side', interrupt)
    assert run('video', video, '--output', tmp_path / 'out.mp4') == 130
    assert [path.name for path in tmp_path.iterdir()] == ['in.avi']


@pytest.mark.parametrize('end', ['nothing', 'half'])
def test_a_video_that_the_disk_cuts_off_is_an_error_and_leaves_nothing(run, video, tmp_path, monkeypatch, capsys, end):
    # OpenCV says nothing of a disk that is full.
    class Cut:
        def __init__(self, path, *args):
            self._path, self._writer = Path(path), WRITER(path, *args)
            self.isOpened, self.write = self._writer.isOpened, self._writer.write

        def release(self):
            self._writer.release()
            data = self._path.read_bytes()
            self._path.write_bytes(data[: len(data) // 2] if end == 'half' else b'')

    monkeypatch.setattr(cv2, 'VideoWriter', Cut)
    assert run('video', video, '--output', tmp_path / 'out.mp4') == 1
    assert '0 of 5 frames were written' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['in.avi']
