"""Which CameraInfo belongs to a frame."""

from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.geometry import CameraInfoError, Cameras

SIZE = 60, 80


def header(stamp_ns):
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id='optical')


def camera_info(stamp_ns, focal=50.0):
    height, width = SIZE
    return SimpleNamespace(
        header=header(stamp_ns),
        width=width,
        height=height,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=np.array([focal, 0, 40.0, 0, focal, 30.0, 0, 0, 1]),
        r=np.eye(3).ravel(),
        p=np.array([focal, 0, 40.0, 0, 0, focal, 30.0, 0, 0, 0, 1, 0]),
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    )


@pytest.fixture
def cameras():
    return Cameras('/camera_info', rectified=False)


def focal_of(cameras, stamp_ns, *, exact):
    return cameras.find(header(stamp_ns), SIZE, SIZE, exact=exact).model.fx


def changed(info, what):
    """The same calibration but for one thing."""
    if what == 'r':
        angle = 0.1
        info.r = np.array([np.cos(angle), 0, np.sin(angle), 0, 1, 0, -np.sin(angle), 0, np.cos(angle)])
    else:
        info.roi = SimpleNamespace(x_offset=20 * (what == 'roi'), y_offset=0, width=40, height=60, do_rectify=False)
    return info


@pytest.mark.parametrize(('before', 'after', 'size'), [('', 'r', SIZE), ('the same window', 'roi', (60, 40))])
def test_whatever_changes_in_a_calibration_makes_another_camera(cameras, before, after, size):
    for stamp, what in ((1, before), (2, after), (3, after)):
        info = camera_info(stamp)
        cameras.add(changed(info, what) if what else info)
    first, second, third = (cameras.find(header(stamp), size, size, exact=True) for stamp in (1, 2, 3))
    assert second is third is not first
    first, second = (
        camera.model.rays(*size) if camera.rectifier is None else camera.rectifier.maps(*size)[0]
        for camera in (first, second)
    )
    assert first.shape != second.shape or not np.allclose(first, second, equal_nan=True)


def test_a_rectified_calibration_has_no_rotation_and_a_projection_that_nobody_filled_is_that_of_k(cameras):
    info = changed(camera_info(1), 'r')
    info.p = np.zeros(12)
    cameras.add(info)
    found = cameras.find(header(1), SIZE, SIZE, exact=True).info
    np.testing.assert_array_equal(np.reshape(found.r, (3, 3)), np.eye(3))
    np.testing.assert_array_equal(np.reshape(found.p, (3, 4))[:, :3].ravel(), info.k)
    np.testing.assert_array_equal(found.k, info.k)


@pytest.mark.parametrize('exact', [False, True])
def test_a_frame_that_was_long_in_work_still_finds_its_own(cameras, exact):
    # At 60 Hz, and a network that takes 10 s.
    stamps = [index * 10**9 // 60 for index in range(600)]
    for index, stamp in enumerate(stamps):
        cameras.add(camera_info(stamp, focal=100.0 + index))
    assert focal_of(cameras, stamps[0], exact=exact) == 100.0
    assert focal_of(cameras, stamps[-1], exact=exact) == 699.0


def test_the_latest_serves_where_none_has_the_stamp_unless_it_must_be_exact(cameras):
    assert not cameras.heard
    with pytest.raises(CameraInfoError, match='no CameraInfo on /camera_info'):
        focal_of(cameras, 5, exact=False)
    # The latest is what came last, which need not have the highest stamp.
    for stamp, focal in ((5, 50.0), (9, 60.0), (5, 70.0)):
        cameras.add(camera_info(stamp, focal))
    assert cameras.heard
    assert focal_of(cameras, 7, exact=False) == 70.0
    assert focal_of(cameras, 9, exact=False) == 60.0
    assert focal_of(cameras, 5, exact=True) == 70.0
    with pytest.raises(CameraInfoError, match='stamp of the image'):
        focal_of(cameras, 7, exact=True)
