"""The benchmark of the node: what it says of a run adds up."""

import json

import pytest

from depth_anything_ros.cli.main import main


@pytest.mark.timeout(240)
def test_the_node_is_timed_from_stamp_to_arrival_and_no_frame_goes_missing(tmp_path):
    path = tmp_path / 'bench.json'
    options = ['--input-size', '64', '--size', '96x64', '--backend', 'torch', '--precision', 'fp32', '--frames', '2']
    node = ['--end-to-end', '--rate', '10', '--seconds', '5']
    assert main(['bench', *options, *node, '--json', str(path)]) == 0
    (run,) = json.loads(path.read_text())['end_to_end']
    assert run['sent'] == pytest.approx(50, abs=15)
    assert 0 < run['answered'] <= run['sent'] + 1
    for latency in run['latency_ms'].values():
        assert 0 < latency['p50'] <= latency['p95'] <= latency['p99'] < 60e3
    counts = run['counts']
    # The node's counts are at most a period of its diagnostics old.
    assert counts['received'] == pytest.approx(run['sent'], abs=25)
    assert counts['processed'] + counts['replaced'] <= counts['received'] + 2
    assert counts['failed'] == counts['rejected'] == counts['withheld'] == 0
    assert len(run['slices']) == len(run['memory_mib'])
    assert run['memory_mib'][-1] > 50
    assert 0 < run['cpu_cores'] < 64
