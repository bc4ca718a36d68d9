"""The measurement of the training's speed, very small."""

import json
import os
import signal

import pytest

from training.bench import processes, student_step
from training.bench.data import write_data
from training.bench.student_step import figures, variants
from training.cli.main import main
from training.data.shards import ShardDataset
from training.stages import bench

SMALL = [
    'architecture=lite0',
    'size=[32,64]',
    'batch_size=2',
    'steps=2',
    'workers=[0]',
    'device=cpu',
    'labelled_images=3',
    'label_batch_sizes=[1,2]',
]


@pytest.fixture
def in_this_process(monkeypatch):
    """Processes take a second each."""
    monkeypatch.setattr(processes, 'in_process', processes.figures_or_reason)


def test_the_table_has_a_row_for_every_variant_and_figures_that_agree(tmp_path, capsys, monkeypatch, in_this_process):
    # Without a compiler: so one variant cannot be had, and the test is done in seconds.
    monkeypatch.setenv('PATH', '')
    files = [f'json={tmp_path / "bench.json"}', f'markdown={tmp_path / "bench.md"}']
    assert main(['bench', *SMALL, *files]) == 0
    report = json.loads((tmp_path / 'bench.json').read_text())
    assert {'cpu', 'cores', 'torch'} <= report['machine'].keys()
    *steps, compiled = report['student']
    assert [result['variant'] for result in (*steps, compiled)] == [*variants('bf16')]
    for result in steps:
        assert result['samples'] == 2 * 2
        assert result['samples_per_second'] * result['seconds'] == pytest.approx(result['samples'])
        assert 0 < result['step_ms']['p50'] <= result['step_ms']['p95']
        assert 0 < result['loader_share'] < 1
        assert min(result['memory_mib'], result['first_step_s'], result['speed_up']) > 0
    assert steps[0]['speed_up'] == 1
    assert 'needs a C++ compiler' in compiled['reason']
    assert {result['batch_size'] for result in report['labelling']} == {1, 2}
    for result in report['labelling']:
        assert result['images'] == 3
        assert result['images_per_second'] * result['seconds'] == pytest.approx(3)
    printed = capsys.readouterr().out
    assert printed == (tmp_path / 'bench.md').read_text()
    table = [line for line in printed.splitlines() if line.startswith('|')]
    assert len(table) == 2 + len(variants('bf16')) + 2 + len(report['labelling'])
    assert f'not measured: {compiled["reason"]}' in printed
    assert {line.count('|') for line in table} == {9, 6}


def test_a_variant_is_measured_in_a_process_of_its_own_with_a_loader_of_its_own(tmp_path):
    settings = bench.Settings(
        architecture='lite0', size=[32, 64], batch_size=2, steps=2, workers=[1], device='cpu', labelled_images=4
    )
    write_data(tmp_path / 'shards', tmp_path / 'labels', {'train-000000': 4}, 32, 32)
    (_, case), *_ = bench.student_step_cases(settings, tmp_path)
    found = processes.in_process(student_step.measure, case)
    assert found['samples'] == 4, found
    assert found['device'] == 'cpu'


def die(number):
    os.kill(os.getpid(), number)


def leave(code):
    os._exit(code)


def short_of_memory(case):
    raise RuntimeError(f'{case}: out of memory\nand more')


@pytest.mark.parametrize(
    ('measure', 'case', 'reason'),
    [
        (die, signal.SIGKILL, 'SIGKILL, perhaps for want of memory'),
        (leave, 3, 'exit code 3'),
        (short_of_memory, 'GPU 0', 'RuntimeError: GPU 0: out of memory'),
    ],
)
def test_a_case_that_ends_its_process_or_fails_says_so(measure, case, reason):
    found = processes.in_process(measure, case)
    assert [*found] == ['reason']
    assert found['reason'].endswith(reason)


def test_figures_are_of_the_steps_after_the_warm_up():
    found = figures(seconds=[60.0, 61.0, 63.0, 66.0], waiting=[0.0, 0.5, 1.5, 2.0], warm_up=2, batch_size=10)
    assert found == {
        'samples': 20,
        'seconds': 5.0,
        'samples_per_second': 4.0,
        'step_ms': {'p50': 2500.0, 'p95': 2950.0},
        'loader_share': pytest.approx(1.5 / 5),
    }


def test_its_images_take_as_much_decoding_as_photos(tmp_path):
    write_data(tmp_path / 'shards', tmp_path / 'labels', {'train-000000': 3}, 70, 14)
    labelled = ShardDataset(str(tmp_path / 'shards'), labels=str(tmp_path / 'labels'))
    assert len(labelled) == 3
    assert labelled[0].image.shape == (480, 640, 3)
    assert labelled[0].disparity.shape == (480, 640)
    # A camera's JPEG of this size: 100 to 300 kB.
    assert 100e3 < (tmp_path / 'shards/train-000000.tar').stat().st_size / 3 < 300e3


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ('batch_size=3', 'CutMix'),
        ('workers=[]', 'workers'),
        ('label_batch_sizes=[0]', 'label_batch_sizes'),
        ('steps=0', 'steps'),
        ('size=[518]', 'size is [height, width]'),
        ('batch_size=0', 'batch_size'),
        ('workers=[0,-1]', 'workers'),
        ('size=[33,64]', 'multiples of 32'),
        ('architecture=nosuch', 'unknown architecture'),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(capsys, wrong, said):
    assert main(['bench', *SMALL, wrong]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_nothing_that_can_be_measured_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(processes, 'in_process', lambda measure, case: {'reason': 'no memory'})
    assert main(['bench', *SMALL]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith('no memory')
