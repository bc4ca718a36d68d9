"""depth_node as a process: how it starts, fails and stops."""

import os
import select
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from dds_client import TIMEOUT_S, Client, depth_of, picture, spinning
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image

SMALL = ['-p', 'model:=untrained-small', '-p', 'input_size:=42', '-p', 'backend:=torch']


def run(*arguments, timeout_s=120.0):
    return subprocess.run(
        [sys.executable, '-m', 'depth_anything_ros.node.main', '--ros-args', *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, 'HF_HUB_OFFLINE': '1'},
    )


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['-p', 'model:=v9-huge'], 'v9-huge'),
        (['-p', 'model:=v2-large'], 'accept_license'),
        (['-p', 'model:=v2-small'], 'depth_anything_v2_vits'),
        (['-p', 'model:=v2-small', '-p', 'checkpoint:=/no/such/file.pth'], '/no/such/file.pth'),
        (['-p', 'checkpoint:=/no/such/file.pth'], '/no/such/file.pth'),
        ([*SMALL, '-p', 'device:=cuda:99'], 'cuda:99'),
        ([*SMALL, '-p', 'input_size:=43'], 'multiple of 14'),
        (['-p', 'input_size:=252'], 'multiple of 32 for tiny'),
        ([*SMALL, '-p', 'range.min_m:=50.0'], 'range.max_m'),
        ([*SMALL, '-p', 'range.max_m:=8'], 'range.max_m'),
        ([*SMALL, '-p', 'points.stride:=0'], 'points.stride'),
        ([*SMALL, '-p', 'cameras:=[front, front]'], "cameras has 'front' twice"),
        ([*SMALL, '-p', 'cameras:=front'], 'STRING_ARRAY'),
        ([*SMALL, '-p', 'alignment.extrinsics:=[]'], '0 numbers'),
        ([*SMALL, '-p', 'alignment.source:=fixed'], 'alignment.fixed: scale must be positive'),
        (['--params-file', '/no/such.yaml'], '/no/such.yaml'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_start_that_cannot_work_ends_at_once_with_one_clear_reason(arguments, text):
    result = run(*arguments)
    assert result.returncode == 1
    assert text in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('topic', ['image.subscription', 'points.publisher'])
def test_a_start_that_fails_for_a_reason_nobody_foresaw_is_not_silent(topic):
    result = run(*SMALL, '-p', f'qos_overrides./{topic}.reliability:=bogus')
    assert result.returncode == 1
    assert 'bogus' in result.stderr


def test_with_no_parameters_at_all_there_is_depth(tmp_path):
    """Where there is no network, no cache and no GPU, either."""
    client, image = Client(), picture(120, 160)
    client.listen('relative/image', Image)

    def see():
        client.send(image)
        time.sleep(0.1)  # as a camera does
        return client.received['relative/image']

    process = subprocess.Popen(
        [sys.executable, '-m', 'depth_anything_ros.node.main'],
        env={**os.environ, 'HF_HUB_OFFLINE': '1', 'HOME': str(tmp_path)},
    )
    try:
        with spinning(client):
            disparity = depth_of(client.wait_for(see, 'depth', timeout_s=60.0)[0])
            assert client.status('model').message == 'tiny'
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20.0)
    assert disparity.shape == image.shape[:2]
    assert np.isfinite(disparity).all()
    assert np.ptp(disparity) > 0.0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_process_stops_cleanly_when_told_to(number):
    process = subprocess.Popen(
        [sys.executable, '-m', 'depth_anything_ros.node.main', '--ros-args', *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = []
    try:
        for line in process.stdout:
            output.append(line)
            if 'calibration from' in line:
                break
        time.sleep(0.5)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=20.0)
    finally:
        process.kill()
    assert process.returncode == 0, ''.join(output) + rest
    assert 'Traceback' not in rest


@pytest.mark.parametrize('times', [1, 2])
def test_a_signal_is_heard_while_a_manager_waits_for_a_download(tmp_path, times):
    """From a hub that takes the request and never answers. Twice, as at Ctrl-C by the terminal and by ros2 launch."""
    client, hub = Client(), socket.create_server(('127.0.0.1', 0))
    address = f'http://127.0.0.1:{hub.getsockname()[1]}'
    environment = {'HF_HUB_OFFLINE': '0', 'HF_ENDPOINT': address, 'NO_PROXY': '127.0.0.1', 'HOME': str(tmp_path)}
    environment |= {'HF_HOME': str(tmp_path), 'DEPTH_ANYTHING_CHECKPOINTS': str(tmp_path)}
    arguments = ['--ros-args', '-p', 'model:=v2-small', '-p', 'autostart:=false']
    process = subprocess.Popen(
        [sys.executable, '-m', 'depth_anything_ros.node.main', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        with hub, spinning(client):
            manager = client.create_client(ChangeState, '/depth_node/change_state')
            assert manager.wait_for_service(TIMEOUT_S)
            # What is asked before both ends have found each other is lost.
            for _ in range(6):
                manager.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
                asked, _, _ = select.select([hub], [], [], TIMEOUT_S / 6)
                if asked:
                    break
            else:
                process.kill()
                pytest.fail(f'nothing was asked of the hub: {process.communicate()[0]}')
            with hub.accept()[0]:
                for _ in range(times):
                    process.send_signal(signal.SIGTERM)
                    time.sleep(0.03)
                output, _ = process.communicate(timeout=20.0)
    finally:
        process.kill()
    assert process.returncode == 0, output
    # Else it waited for the hub till the end.
    assert 'cannot be downloaded' not in output
