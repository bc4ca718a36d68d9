import json
import sys

import pytest

from depth_anything_ros.cli.main import main

SMALL = ['--input-size', '64', '--size', '64x48', '--backend', 'torch']


def bench(tmp_path, *options):
    """Run it; the report that it writes."""
    path = tmp_path / 'bench.json'
    assert main(['bench', *options, '--json', str(path), '--markdown', str(path.with_suffix('.md'))]) == 0
    return json.loads(path.read_text())


def test_bench_prints_a_table_and_writes_it_and_the_figures(tmp_path, capsys):
    report = bench(tmp_path, *SMALL, '--frames', '7')
    (result,) = report['results']
    assert report['image_size'] == [64, 48]
    assert (result['model'], result['backend'], result['network_size']) == ('tiny', 'torch', [96, 64])
    latency = result['latency_ms']
    assert 0 < latency['network']['p50'] <= latency['network']['p95'] <= latency['network']['p99']
    assert latency['total']['p50'] >= latency['network']['p50']
    assert result['frames_per_second'] == pytest.approx(1e3 / latency['total']['p50'], rel=0.9)
    assert result['memory_mib'] > 50
    assert {'cpu', 'cores', 'torch'} <= report['machine'].keys()
    printed = capsys.readouterr().out
    assert printed == (tmp_path / 'bench.md').read_text()
    table = [line for line in printed.splitlines() if line.startswith('|')]
    assert len(table) == 3
    assert len({line.count('|') for line in table}) == 1


def test_every_combination_is_a_case_and_one_that_cannot_be_had_says_why(tmp_path, capsys):
    report = bench(tmp_path, *SMALL, '--precision', 'fp32', 'fp16', '--device', 'cpu', '--frames', '2')
    assert [result['precision'] for result in report['results']] == ['fp32']
    (missing,) = report['unavailable']
    assert 'fp16' in missing['reason']
    assert missing['reason'] in capsys.readouterr().out


def test_the_reference_runs_the_same_network_on_the_same_size(tmp_path):
    pytest.importorskip('transformers', reason='needs transformers')
    options = ['--model', 'untrained-small', '--input-size', '28', '--size', '64x48', '--frames', '2']
    report = bench(tmp_path, *options, '--backend', 'torch', '--precision', 'fp32', '--device', 'cpu', '--reference')
    ours, *others = report['results']
    eager = next(result for result in others if result['reference'] == 'eager')
    assert (eager['precision'], eager['network_size']) == ('fp32', ours['network_size'])


FULL_GPU = """
import runpy
import sys

import torch

from depth_anything_ros.estimation.backends.torch_backends import EagerBackend

def refuse(*_):
    raise torch.cuda.OutOfMemoryError('CUDA out of memory')

EagerBackend.__call__ = refuse
_, module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name='__main__')
"""


def test_a_case_that_dies_costs_the_others_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / 'full_gpu.py').write_text(FULL_GPU)
    interpreter = tmp_path / 'python'
    interpreter.write_text(f"""#!/bin/sh
case "$*" in
    *'"input_size": 96'*) kill -9 $$;;
    *'"input_size": 128'*) echo '{{"network_size": [1, 1]}}'; read frames; exit 3;;
    *'"input_size": 160'*) exec {sys.executable} {tmp_path / 'full_gpu.py'} "$@";;
esac
exec {sys.executable} "$@"
""")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(interpreter))
    options = ['--size', '64x48', '--backend', 'torch', '--device', 'cpu', '--frames', '2']
    report = bench(tmp_path, *options, '--input-size', '64', '96', '128', '160')
    assert [result['network_size'] for result in report['results']] == [[96, 64]]
    killed, died, full = (case['reason'] for case in report['unavailable'])
    assert 'code -9' in killed
    assert 'code 3' in died
    assert "'cpu' is out of memory" in full
    assert killed in capsys.readouterr().out


def test_bench_refuses_a_model_it_does_not_know(capsys):
    assert main(['bench', '--model', 'v9-huge', '--backend', 'torch']) == 1
    assert 'unknown model' in capsys.readouterr().err
