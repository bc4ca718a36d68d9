"""The benchmark of the node: what it says of a run adds up."""

import json
import subprocess
import sys

import pytest

from depth_anything_ros.cli.main import main


@pytest.mark.timeout(240)
def test_the_node_is_timed_from_stamp_to_arrival_and_no_frame_goes_missing(tmp_path):
    path = tmp_path / 'bench.json'
    options = ['--input-size', '64', '--size', '96x64', '--backend', 'torch', '--precision', 'fp32', '--frames', '2']
    node = ['--end-to-end', '--rate', '10', '--seconds', '5']
    assert main(['bench', *options, *node, '--json', str(path)]) == 0
    (run,) = json.loads(path.read_text())['end_to_end']
    # 10 Hz for 5 s and up to the node's next word, but a camera may be starved.
    assert run['sent'] > 0
    # On the way when the clock starts are the frames of as long as the machine just stood still.
    assert 0 < run['answered'] <= run['sent'] + 8
    for latency in run['latency_ms'].values():
        assert 0 < latency['p50'] <= latency['p95'] <= latency['p99'] < 60e3
    counts = run['counts']
    # What was on its way when the node told its counts, at the beginning and at the end.
    assert counts['received'] == pytest.approx(run['sent'], abs=8)
    assert counts['processed'] + counts['replaced'] <= counts['received'] + 2
    assert counts['failed'] == counts['rejected'] == counts['withheld'] == 0
    assert len(run['slices']) == len(run['memory_mib'])
    assert run['memory_mib'][-1] > 50
    assert 0 < run['cpu_cores'] < 64


@pytest.mark.timeout(240)
def test_several_cameras_are_timed_in_one_node_and_in_a_node_each(tmp_path):
    path = tmp_path / 'bench.json'
    options = ['--input-size', '64', '--size', '96x64', '--backend', 'torch', '--precision', 'fp32', '--frames', '2']
    node = ['--end-to-end', '--cameras', '2', '--rate', '5', '--seconds', '4']
    assert main(['bench', *options, *node, '--json', str(path)]) == 0
    together, apart = json.loads(path.read_text())['end_to_end']
    assert [run['separate_nodes'] for run in (together, apart)] == [False, True]
    for run in (together, apart):
        assert run['sent'] > 0
        assert run['counts']['received'] == pytest.approx(run['sent'], abs=8)
        assert run['counts']['failed'] == run['counts']['rejected'] == run['counts']['withheld'] == 0
        assert run['answered'] > 0.5 * run['sent']
    # Two nodes hold torch and the model twice.
    assert apart['memory_mib'][-1] > 1.5 * together['memory_mib'][-1]


JOB = {'model': 'untrained-small', 'checkpoint': '', 'accept_license': False, 'device': 'cpu', 'precision': 'fp32'}
JOB |= {'backend': 'torch', 'input_size': 42, 'size': [64, 48], 'rate_hz': 10.0, 'cameras': 1, 'separate_nodes': False}
BENCH = [sys.executable, '-m', 'depth_anything_ros.node.bench']
# A network of its own, in which not even the loopback interface is up.
ALONE = ['unshare', '--map-root-user', '--net']


def may_be_alone():
    try:
        return subprocess.run([*ALONE, 'true'], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_be_alone(), reason='needs unshare, and the right to a network namespace')
def test_where_processes_cannot_find_each_other_it_says_so_at_once():
    job = json.dumps({**JOB, 'seconds': 5.0})
    run = subprocess.run([*ALONE, *BENCH, job], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 1
    assert 'ip link set lo up' in run.stderr


def start(**options):
    """The measurement as the command starts it."""
    command = [*BENCH, json.dumps({**JOB, 'seconds': 600.0, **options})]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_node_and_the_camera_do_not_outlive_the_command():
    with start() as process:
        for line in process.stderr:
            if 'untrained-small on cpu' in line:
                break
        # As it is when the command is killed.
        process.stdin.close()
        complaint = process.stderr.read()
    assert process.returncode == 1
    assert 'stopped, since whoever started it is gone' in complaint


def test_a_camera_that_ends_ends_the_measurement():
    with start(rate_hz=0) as process:
        complaint = process.stderr.read()
    assert process.returncode == 1
    assert 'the camera ended with code 1' in complaint


def test_a_node_that_ends_ends_the_measurement():
    with start(checkpoint='/nowhere/weights.safetensors') as process:
        complaint = process.stderr.read()
    assert process.returncode == 1
    assert 'the node ended with code' in complaint
    assert '/nowhere/weights.safetensors' in complaint
