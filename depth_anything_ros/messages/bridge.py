"""Which conversions cv_bridge gets right here, found out by trying each once.

There are many cv_bridges. PyPI's (1.13, pure Python) ignores `step` and lacks the YUV and 16-bit encodings. A
ROS install's is compiled: it reads padded rows only where a step is a whole number of pixels, and one built
for NumPy 1 must not be touched under NumPy 2 (ros-perception/vision_opencv#535). So none is trusted by its
name: a case is served by cv_bridge if it returns, bit for bit, what OpenCV does for a small image of noise.
"""

import functools
import importlib
import importlib.util
from array import array
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from depth_anything_ros.messages import layout, opencv

# Even for YUV, and wide enough for OpenCV's vector code to run beside its remainder loop.
_PROBE_HEIGHT, _PROBE_WIDTH = 18, 70
# No whole number of pixels in any encoding but the one-byte ones: cameras pad rows to 4, 16 or 64 bytes,
# which a 3-byte pixel rarely divides.
_PROBE_PADDING = 1


class Case(NamedTuple):
    """One way for an image to lie in a message."""

    encoding: str
    padded: bool
    big_endian: bool

    def __str__(self) -> str:
        """Name the encoding, then what is unusual."""
        return self.encoding + ', padded' * self.padded + ', big-endian' * self.big_endian


@dataclass(frozen=True)
class BridgeReport:
    """What the probe found. `str()` gives the lines to log."""

    cv_bridge: Any = None
    """The CvBridge that serves, None if it could not be loaded."""
    served: frozenset[Case] = frozenset()
    refused: dict[Case, str] = field(default_factory=dict)
    """The reason for each case that OpenCV serves instead."""

    def __str__(self) -> str:
        """Group the cases by the reason."""
        by_reason: dict[str, list[str]] = {}
        for case, reason in self.refused.items():
            by_reason.setdefault(reason, []).append(str(case))
        return '\n'.join(
            [
                f'cv_bridge serves {"; ".join(map(str, sorted(self.served))) or "nothing"}. OpenCV serves',
                *(f'  {"; ".join(cases)}: {reason}' for reason, cases in by_reason.items()),
            ]
        )


@functools.cache
def bridge_report() -> BridgeReport:
    """Probe cv_bridge on the first call (milliseconds, beside its import) and remember the answer."""
    # rgb8 is a view of the message here; cv_bridge could only add a copy.
    encodings = [name for name, encoding in opencv.ENCODINGS.items() if encoding.conversion is not None]
    cases = [Case(*case) for case in product(encodings, (False, True), (False, True))]
    try:
        cv_bridge = _load()
    except Exception as error:  # a broken build fails with whatever its bindings raise
        return BridgeReport(refused=dict.fromkeys(cases, f'cannot load cv_bridge: {_describe(error)}'))
    refused = {case: reason for case in cases if (reason := _find_fault(cv_bridge, case))}
    return BridgeReport(cv_bridge, frozenset(cases).difference(refused), refused)


def find_bridge(msg):
    """Return the CvBridge that serves this (valid) image, or None if OpenCV does."""
    encoding = opencv.ENCODINGS[msg.encoding]
    padded = int(msg.step) > layout.row_bytes(msg, encoding.dtype, encoding.channels)
    report = bridge_report()
    return report.cv_bridge if Case(msg.encoding, padded, bool(msg.is_bigendian)) in report.served else None


def _load():
    spec = importlib.util.find_spec('cv_bridge')
    if spec is None:
        raise ImportError('not installed')
    libraries = [
        path
        for folder in spec.submodule_search_locations or ()
        for path in Path(folder, 'boost').glob('cv_bridge_boost*.so')
    ]
    for library in libraries:
        if np.lib.NumpyVersion(np.__version__) >= '2.0.0' and _is_built_for_numpy_1(library):
            # Its import prints a traceback yet succeeds, and its first conversion follows a null pointer.
            raise ImportError(f'{library} is built for NumPy 1 and would crash under {np.__version__}')
    return importlib.import_module('cv_bridge').CvBridge()


def _is_built_for_numpy_1(library: Path) -> bool:
    """Tell by the module that import_array() names; NumPy 2's headers try numpy._core first."""
    code = library.read_bytes()
    return b'numpy.core' in code and b'numpy._core' not in code


def _find_fault(cv_bridge, case: Case) -> str | None:
    """Return why cv_bridge may not serve `case`, None if it may."""
    msg = _noise(case)
    expected = opencv.decode(opencv.view_pixels(msg), msg.encoding)
    try:
        found = cv_bridge.imgmsg_to_cv2(msg, 'rgb8')
    except Exception as error:  # as above
        return _describe(error)
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or not found.flags.c_contiguous:
        return 'returns no contiguous uint8 array'
    return None if np.array_equal(found, expected) else 'differs from OpenCV'


def _noise(case: Case) -> SimpleNamespace:
    encoding = opencv.ENCODINGS[case.encoding]
    msg = SimpleNamespace(
        height=_PROBE_HEIGHT, width=_PROBE_WIDTH, encoding=case.encoding, is_bigendian=int(case.big_endian)
    )
    msg.step = layout.row_bytes(msg, encoding.dtype, encoding.channels) + case.padded * _PROBE_PADDING
    size = msg.step * int(msg.height * encoding.rows_per_height)
    msg.data = array('B', np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes())
    return msg


def _describe(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'
