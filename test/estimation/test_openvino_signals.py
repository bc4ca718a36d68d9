"""Signals reach a process that has used OpenVINO."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, os, signal
import numpy as np
from depth_anything_ros.estimation import DepthEstimator
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
options = {'device': 'cpu', 'precision': 'fp32', 'backend': 'openvino', 'input_size': 14}
image = np.zeros((28, 42, 3), np.uint8)
older, newer = DepthEstimator('untrained-small', **options), DepthEstimator('untrained-small', **options)
older(image), newer(image)
del older
gc.collect()
del newer
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_handled_after_one_network_has_replaced_another():
    pytest.importorskip('openvino', reason='needs the extra openvino')
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True, check=False, timeout=200)
    assert (done.returncode, done.stdout.strip()) == (0, 'handled'), done.stderr
