import json
import sys

import pytest
import torch

from depth_anything_ros.benchmark.memory import memory
from depth_anything_ros.cli.bench_case import Case
from depth_anything_ros.cli.bench_reference import Reference
from depth_anything_ros.cli.main import main
from depth_anything_ros.estimation import BackendUnavailableError
from depth_anything_ros.estimation.preprocessing import network_size

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


def test_the_reference_runs_the_same_network_on_the_same_size(tmp_path, monkeypatch):
    pytest.importorskip('transformers', reason='needs transformers')
    monkeypatch.setenv('TORCHDYNAMO_DISABLE', '1')  # what is to be compiled runs as it is, a minute sooner
    options = ['--model', 'untrained-small', '--input-size', '28', '--size', '64x48', '--frames', '2']
    report = bench(tmp_path, *options, '--backend', 'torch', '--precision', 'fp32', '--device', 'cpu', '--reference')
    ours, *others = report['results']
    references = {result['reference']: result for result in others}
    assert references.keys() == {'eager', 'best'}
    assert references['eager']['precision'] == 'fp32'
    for result in references.values():
        assert result['network_size'] == ours['network_size']
        assert result['start_s'] > 0
    assert ours['start_s'] > 0


@pytest.mark.parametrize('size', [(640, 360), (424, 240)])  # in which its own rule has a third of the pixels
def test_the_reference_sees_as_many_pixels_in_every_shape(size):
    pytest.importorskip('transformers', reason='needs transformers')
    case = Case('untrained-small', '', 'cpu', '', '', 518, False, size, reference='eager')
    height, width = network_size(size[1], size[0], 518, 14)
    assert Reference(case).facts['network_size'] == [width, height]


def test_a_reference_without_a_model_of_transformers_says_what_to_name():
    pytest.importorskip('transformers', reason='needs transformers')
    with pytest.raises(BackendUnavailableError, match='the reference needs --model'):
        Reference(Case('', 'mine.safetensors', 'cpu', '', '', 0, False, (64, 48), reference='eager'))


@pytest.mark.parametrize('option', [('--rate', '0'), ('--rate', 'inf'), ('--seconds', '-1')])
def test_a_rate_or_a_time_that_cannot_be_is_refused(option, capsys):
    with pytest.raises(SystemExit):
        main(['bench', *SMALL, '--end-to-end', *option])
    assert 'expected a finite number above 0' in capsys.readouterr().err


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


# A case and its node as they answer, without either.
STAND_INS = """#!/bin/sh
case "$*" in
    *node.bench*) printf '%s\\n' "$3" >> {asked};;
esac
case "$*" in
    *node.bench*'"input_size": 96'*) exit 3;;
    *node.bench*) echo '{{"latency_ms": {{"depth": null, "points": null}}, "answered_hz": 9.5, "sent": 10,
        "answered": 9, "counts": {{"replaced": 1}}, "cpu_cores": 0.5, "memory_mib": [1, 2]}}' | tr -d '\\n';;
    *) size=64
       case "$*" in *'"input_size": 96'*) size=96;; esac
       echo '{{"model": "lite0", "backend": "torch", "device": "cuda:1", "precision": "fp32", "start_s": 1.0,' \\
            '"network_size": ['$size', '$size']}}'
       read frames
       echo '{{"preprocess": [1.0], "network": [2.0], "postprocess": [3.0], "total": [6.0]}}'
       echo '{{"memory_mib": 1.0, "gpu_memory_mib": 2.0}}';;
esac
"""


def test_a_node_that_fails_costs_the_others_nothing_and_each_is_given_the_model_that_was_asked_for(
    tmp_path, monkeypatch, capsys
):
    asked, interpreter = tmp_path / 'asked', tmp_path / 'python'
    interpreter.write_text(STAND_INS.format(asked=asked))
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(interpreter))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'GPU {device}')
    options = ['--checkpoint', 'lite0.safetensors', '--backend', 'torch', '--frames', '1', '--end-to-end']
    report = bench(tmp_path, *options, '--input-size', '96', '64')
    assert [(node['model'], node['input_size']) for node in report['end_to_end']] == [('lite0', 64)]
    (failed,) = report['unavailable']
    assert 'node ended with code 3' in failed['reason']
    assert failed['reason'] in capsys.readouterr().out
    # The file says which network it holds, and the catalogue has none of that name.
    jobs = [json.loads(line) for line in asked.read_text().splitlines()]
    assert [(job['model'], job['checkpoint']) for job in jobs] == 2 * [('', 'lite0.safetensors')]
    assert report['machine']['gpu'] == 'GPU cuda:1'
    # Of those that fail alone there is a report too, but no success.
    path = tmp_path / 'failed.json'
    assert main(['bench', *options, '--input-size', '96', '--json', str(path)]) == 1
    assert json.loads(path.read_text())['unavailable']


def test_memory_is_that_of_the_gpu_that_was_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', {'cuda:1': 2**21}.__getitem__)
    assert memory('cuda:1')['gpu_memory_mib'] == 2.0
    assert memory('cpu')['gpu_memory_mib'] == 0.0


def test_bench_refuses_a_model_it_does_not_know(capsys):
    assert main(['bench', '--model', 'v9-huge', '--backend', 'torch']) == 1
    assert 'unknown model' in capsys.readouterr().err
