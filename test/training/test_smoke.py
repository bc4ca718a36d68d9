"""The smoke run, very small: every row of its table, and what a second start and wrong labels do."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from training.data.shards import ShardDataset
from training.smoke.__main__ import main
from training.smoke.corruption import corrupt, corrupt_labels
from training.smoke.table import ROWS

SMALL = (
    'processes=0 unlabelled_scenes=2 pictures=0 synthesize.scenes=3 synthesize.held_out_fraction=0.34 '
    'synthesize.views_per_scene=1 synthesize.size=[64,96] synthesize.supersampling=1 '
    + ' '.join(
        f'{stage}.size=[64,96] {stage}.steps=2 {stage}.batch_size=2 {stage}.warmup_steps=0 {stage}.encoder=random'
        for stage in ('teacher', 'student')
    )
).split()


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp('smoke')
    assert main([f'output={output}', *SMALL]) == 0
    return output


def test_the_table_has_a_row_with_a_verdict_for_every_claim(finished):
    table = (finished / 'table.md').read_text()
    rows = json.loads((finished / 'results.json').read_text())['rows']
    assert [row['claim'] for row in rows] == [row.claim for row in ROWS]
    for row in rows:
        assert f'| {row["claim"]} |' in table
        compared = row['comparison']
        assert compared['difference'] == pytest.approx(compared['second'] - compared['first'])


def test_a_second_start_prints_the_table_and_makes_nothing_again(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob('*') if path.is_file()}
    assert main([f'output={finished}', *SMALL]) == 0
    assert (finished / 'table.md').read_text() in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in finished.rglob('*') if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {'.lock'}


def test_the_two_networks_of_a_row_differ_in_what_it_names_alone(finished):
    def recipe(name):
        return json.loads((finished / name / 'manifest.json').read_text())['recipe']

    def differences(first, second):
        return {key for key, value in recipe(first).items() if recipe(second)[key] != value}

    assert differences('teacher', 'teacher-no-gradient') == {'gradient_weight'}
    assert differences('student', 'student-perturbed') == {'strong', 'cutmix'}
    assert differences('student-corrupted', 'student-corrupted-trimmed') == {'trim'}


@pytest.mark.parametrize(
    'setting', ['teacher.output=elsewhere', 'teacher.seed=7', 'student.trim=0.3', 'label.input_size=64']
)
def test_settings_that_the_run_fills_itself_are_refused(tmp_path, capsys, setting):
    assert main([f'output={tmp_path}', setting]) == 2
    assert f'{setting.partition("=")[0]} is filled by the run' in capsys.readouterr().err


def test_what_it_started_ends_with_it_when_it_is_killed_and_a_second_start_goes_on(tmp_path):
    command = [sys.executable, '-m', 'training.smoke', f'output={tmp_path}', *SMALL, 'processes=2']
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    begun, stages = tmp_path / 'labelled/manifest.json', []
    deadline = time.monotonic() + 120
    # The first stage, at work with processes of its own.
    while len(stages) < 3 or not begun.exists():
        assert parent.poll() is None
        assert time.monotonic() < deadline
        stages = psutil.Process(parent.pid).children(recursive=True)
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(stages, timeout=20)
    assert not alive
    assert json.loads(begun.read_text())['state'] == 'running', 'it has been ended, and not come to its end'
    assert main([f'output={tmp_path}', *SMALL]) == 0
    assert json.loads((tmp_path / 'manifest.json').read_text())['state'] == 'finished'


@pytest.mark.parametrize('share', [0.01, 0.1, 0.5])
def test_corruption_changes_its_share_of_the_pixels_within_the_range_of_the_label(share):
    label = np.random.default_rng(0).random((60, 80), np.float32)
    wrong = corrupt(label, share, np.random.default_rng(1))
    assert np.count_nonzero(wrong != label) == round(share * label.size)
    assert label.min() <= wrong.min()
    assert wrong.max() <= label.max()


def test_corruption_is_of_its_seed_alone(small_shards, tmp_path):
    shards, labels = map(str, small_shards)
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        corrupt_labels(shards, labels, str(tmp_path / name), 0.1, seed)
    a, b, c = (ShardDataset(shards, labels=tmp_path / name).fingerprint for name in 'abc')
    assert a == b != c


def test_corrupted_labels_are_of_the_same_images_and_each_in_other_places(small_shards, tmp_path):
    shards, labels = map(str, small_shards)
    corrupt_labels(shards, labels, str(tmp_path), 0.1, 0)
    clean, corrupted = ShardDataset(shards, labels=labels), ShardDataset(shards, labels=tmp_path)
    assert [clean.key(index) for index in range(len(clean))] == [corrupted.key(index) for index in range(len(clean))]
    # By more than the rounding to 16 bits.
    wrong = [np.abs(clean[index].disparity - corrupted[index].disparity) > 1e-4 for index in range(len(clean))]
    assert all(0.09 < one.mean() <= 0.1001 for one in wrong)
    assert not any((one == wrong[0]).all() for one in wrong[1:])
