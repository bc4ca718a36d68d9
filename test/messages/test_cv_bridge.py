"""cv_bridge serves what it gets right, whichever cv_bridge that is."""

import importlib.util
import sys
import textwrap
from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.messages import bridge_report, to_rgb

HONEST = """
    import cv2
    import numpy as np

    class CvBridge:
        calls = 0

        def imgmsg_to_cv2(self, msg, desired_encoding):
            assert desired_encoding == 'rgb8'
            type(self).calls += 1
            rows = np.frombuffer(msg.data, np.uint8)[: msg.height * msg.step].reshape(msg.height, msg.step)
            bgr = np.ascontiguousarray(rows[:, : msg.width * 3]).reshape(msg.height, msg.width, 3)
            return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
"""


@pytest.fixture(autouse=True)
def _fresh_probe():
    bridge_report.cache_clear()
    yield
    bridge_report.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a cv_bridge package of the given source before any other on the path."""

    def install_source(source):
        package = tmp_path / 'cv_bridge'
        (package / 'boost').mkdir(parents=True)
        (package / '__init__.py').write_text(textwrap.dedent(source))
        for name in [name for name in sys.modules if name.split('.')[0] == 'cv_bridge']:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)
        return package

    yield install_source
    sys.modules.pop('cv_bridge', None)


def bgr_message(padding=0):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    raw = np.pad(pixels.reshape(4, -1), ((0, 0), (0, padding)), constant_values=9)
    data = array('B', raw.tobytes())
    msg = SimpleNamespace(height=4, width=6, encoding='bgr8', is_bigendian=0, step=raw.shape[1], data=data)
    return msg, pixels[..., ::-1]


def reasons():
    return set(bridge_report().refused.values())


def test_a_bridge_that_is_right_serves_and_one_probe_is_enough(install):
    install(HONEST)
    served = {str(case) for case in bridge_report().served}
    assert served == {'bgr8', 'bgr8, padded', 'bgr8, big-endian', 'bgr8, padded, big-endian'}
    cv_bridge = sys.modules['cv_bridge'].CvBridge
    cv_bridge.calls = 0
    for padding in (0, 3):
        msg, rgb = bgr_message(padding)
        np.testing.assert_array_equal(to_rgb(msg), rgb)
    assert cv_bridge.calls == 2


def test_a_bridge_that_ignores_the_step_serves_unpadded_rows_alone(install):
    install(HONEST.replace('.reshape(msg.height, msg.step)', '[: msg.height * msg.width * 3].reshape(msg.height, -1)'))
    assert {str(case) for case in bridge_report().served} == {'bgr8', 'bgr8, big-endian'}
    for padding in (0, 1, 3):
        msg, rgb = bgr_message(padding)
        np.testing.assert_array_equal(to_rgb(msg), rgb)


def test_a_step_of_whole_pixels_only_is_not_enough(install):
    # The compiled cv_bridge's rule: rows of step // 3 whole pixels.
    whole = HONEST.replace(
        '[: msg.height * msg.step].reshape(msg.height, msg.step)',
        '[: msg.height * (msg.step // 3 * 3)].reshape(msg.height, msg.step // 3 * 3)',
    )
    install(whole)
    assert {str(case) for case in bridge_report().served} == {'bgr8', 'bgr8, big-endian'}
    msg, rgb = bgr_message(padding=1)
    np.testing.assert_array_equal(to_rgb(msg), rgb)


def test_rgb8_never_pays_for_a_bridge(install):
    install(HONEST)
    assert 'rgb8' not in {case.encoding for case in bridge_report().served}


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        (
            "raise ImportError('libboost_python310.so.1.74.0: cannot open shared object file')",
            'libboost_python310',
        ),
        ("raise AttributeError('_ARRAY_API not found')", 'AttributeError: _ARRAY_API not found'),
        ("raise SystemError('initialization failed')", 'SystemError: initialization failed'),
        ('', "has no attribute 'CvBridge'"),
        ("class CvBridge:\n    def __init__(self):\n        raise KeyError('CV_8U')", 'KeyError'),
        (
            "class CvBridge:\n    def imgmsg_to_cv2(self, *_):\n        raise RuntimeError('odd')",
            'RuntimeError: odd',
        ),
        (
            'class CvBridge:\n    def imgmsg_to_cv2(self, *_):\n        return None',
            'no contiguous uint8 array',
        ),
    ],
)
def test_a_broken_bridge_serves_nothing_and_the_reason_stays_readable(install, source, reason):
    install(source)
    assert not bridge_report().served
    assert all(reason in text for text in reasons())
    assert reason in str(bridge_report())
    msg, rgb = bgr_message()
    np.testing.assert_array_equal(to_rgb(msg), rgb)


def test_no_bridge_at_all_is_said_and_not_missed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    assert reasons() == {'cannot load cv_bridge: ImportError: not installed'}
    assert str(bridge_report()).startswith('cv_bridge serves nothing. OpenCV serves')
    msg, rgb = bgr_message()
    np.testing.assert_array_equal(to_rgb(msg), rgb)


@pytest.mark.parametrize(
    ('numpy_version', 'strings', 'refused'),
    [
        ('2.2.6', b'\x00numpy.core._multiarray_umath\x00', True),
        ('2.2.6', b'\x00numpy._core._multiarray_umath\x00numpy.core._multiarray_umath\x00', False),
        ('2.2.6', b'\x00nanobind\x00', False),
        ('1.26.4', b'\x00numpy.core._multiarray_umath\x00', False),
    ],
    ids=['built for 1 under 2', 'built for 2', 'no NumPy interface', 'built for 1 under 1'],
)
def test_a_library_built_for_numpy_1_is_never_imported_under_numpy_2(
    install, monkeypatch, numpy_version, strings, refused
):
    package = install(HONEST)
    (package / 'boost' / 'cv_bridge_boost.cpython-310-x86_64-linux-gnu.so').write_bytes(strings)
    monkeypatch.setattr(np, '__version__', numpy_version)
    assert bool(bridge_report().served) is not refused
    assert ('cv_bridge' in sys.modules) is not refused
    if refused:
        (reason,) = reasons()
        assert 'is built for NumPy 1 and would crash under 2.2.6' in reason


@pytest.mark.skipif(not importlib.util.find_spec('cv_bridge'), reason='cv_bridge is not installed')
@pytest.mark.skipif(not importlib.util.find_spec('sensor_msgs'), reason='cv_bridge needs sensor_msgs')
def test_the_installed_bridge_serves_what_it_gets_right():
    served = {str(case) for case in bridge_report().served}
    assert 'bgr8' in served
    refused = {str(case): reason for case, reason in bridge_report().refused.items()}
    assert 'bgr8, padded' in refused
    for case in ('bgr8', 'bgr8, padded'):
        assert case in str(bridge_report())
