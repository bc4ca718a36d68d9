"""Retraining on a robot's log: one command, the same end however often it was killed, and an honest verdict."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from robot_log import record, settings_of
from rosbags.rosbag2 import StoragePlugin

from depth_anything_ros import checkpoints
from training.errors import DataError, MismatchError, RecipeError
from training.recipe import as_dict
from training.run import finished_manifest
from training.stages import retrain


@pytest.mark.parametrize(
    ('plugin', 'compressed', 'licence', 'arguments'),
    [
        (StoragePlugin.SQLITE3, False, 'Apache-2.0', 'input_size:=64'),
        (StoragePlugin.MCAP, True, 'CC-BY-NC-4.0', 'input_size:=64 accept_license:=true'),
    ],
    ids=['sqlite3-raw', 'mcap-jpeg'],
)
def test_a_bag_becomes_a_checkpoint_and_a_verdict_in_numbers(
    tmp_path, networks, plugin, compressed, licence, arguments
):
    bag = record(tmp_path / 'bag', plugin, compressed)
    output = tmp_path / 'new'
    settings = settings_of(bag, output, networks)
    teacher = checkpoints.load(None, settings.label.teacher)
    teacher.source = dataclasses.replace(teacher.source, licence=licence)
    settings.label.teacher, settings.label.accept_license = str(tmp_path / 'teacher.safetensors'), True
    checkpoints.save(teacher, settings.label.teacher)
    manifest = retrain.run(settings)
    assert manifest['verdict'] in ('better', 'worse', 'no difference seen')
    assert 'abs_rel' in manifest['verdict_in_words']
    assert manifest['agreement_with_teacher']['images'] > 5
    assert all(speed > 0 for speed in manifest['images_per_second'].values())
    report = (output / 'report.md').read_text()
    assert manifest['verdict_in_words'] in report
    assert f'checkpoint:={output}/model.safetensors {arguments}\n' in report
    assert 'their shorter side scaled to 64 pixels: ' in report
    assert (output / 'evaluation' / 'report.html').exists()
    new = checkpoints.load(None, output / 'model.safetensors', accept_license=True)
    old = checkpoints.load(None, networks / 'old.safetensors')
    assert new.source.licence == licence
    assert any(not torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True))


@pytest.mark.parametrize(
    ('depth', 'max_points', 'said'),
    [
        ({'with_depth': False}, 5000, 'record a depth image or a LiDAR cloud'),
        ({'depth_frame': 'depth'}, 5000, "/depth: the depth image is in frame 'depth'"),
        ({}, 40, 'too few valid pixels'),
    ],
    ids=['none', 'not registered', 'thin'],
)
def test_nothing_is_claimed_of_a_log_without_metric_depth(tmp_path, networks, depth, max_points, said):
    bag = record(tmp_path / 'bag', **depth)
    settings = settings_of(bag, tmp_path / 'new', networks, ())
    settings.ingest.max_points = max_points
    manifest = retrain.run(settings)
    assert manifest['verdict'] == 'unknown'
    assert said in (tmp_path / 'new' / 'report.md').read_text()
    assert (tmp_path / 'new' / 'model.safetensors').exists()
    assert manifest['agreement_with_teacher']['metric'] == 'teacher_disagreement'


def test_what_can_fail_fails_before_the_work(tmp_path, networks):
    bag = record(tmp_path / 'bag')
    output = tmp_path / 'new'
    settings = settings_of(bag, output, networks)
    with pytest.raises(RecipeError, match='name bags'):
        retrain.run(dataclasses.replace(settings, bags=[]))
    absent = dataclasses.replace(settings.label, teacher=str(tmp_path / 'absent.safetensors'))
    with pytest.raises(DataError, match=r'absent\.safetensors'):
        retrain.run(dataclasses.replace(settings, label=absent))
    with pytest.raises(DataError, match=r'gone\.safetensors'):
        retrain.run(dataclasses.replace(settings, baseline=str(tmp_path / 'gone.safetensors')))
    with pytest.raises(RecipeError, match='name a checkpoint as baseline'):
        retrain.run(dataclasses.replace(settings, baseline='teacher.onnx'))
    with pytest.raises(ValueError, match=r'student\.output is filled by retrain'):
        dataclasses.replace(settings, student=dataclasses.replace(settings.student, output='here'))
    with pytest.raises(RecipeError, match='old: input_size must be a multiple of 32, got 50'):
        retrain.run(dataclasses.replace(settings, input_size=50))
    with pytest.raises(RecipeError, match=r'teacher .*: input_size must be a multiple of 32, got 50'):
        retrain.run(dataclasses.replace(settings, label=dataclasses.replace(settings.label, input_size=50)))
    for changes, said in (
        ({'size': [60, 60]}, 'takes multiples of 32'),
        ({'batch_size': 3}, r'3 samples a batch .* of pairs \(CutMix\)'),
        ({'accumulate': 4}, r'2 samples a batch .* in 4 parts each \(accumulate\)'),
        ({'checkpoint': str(tmp_path / 'lost.safetensors')}, r'lost\.safetensors'),
    ):
        wrong = dataclasses.replace(settings.student, **changes)
        with pytest.raises((RecipeError, DataError), match=said):
            retrain.run(dataclasses.replace(settings, baseline=str(networks / 'old.safetensors'), student=wrong))
    assert not output.exists()


def test_another_bag_is_another_output(tmp_path, networks):
    settings = settings_of(record(tmp_path / 'bag'), tmp_path / 'new', networks)
    retrain.run(settings)
    other = record(tmp_path / 'other', compressed=True)
    with pytest.raises(MismatchError, match='bag other'):
        retrain.run(dataclasses.replace(settings, bags=[str(other)]))


@pytest.mark.parametrize('role', ['baseline', 'teacher', 'start'])
def test_another_network_is_another_output(tmp_path, networks, role):
    settings = settings_of(record(tmp_path / 'bag'), tmp_path / 'new', networks)
    settings.baseline = str(networks / 'old.safetensors')
    retrain.run(settings)
    assert retrain.run(settings)['state'] == 'finished'
    network = checkpoints.load(None, networks / 'old.safetensors')
    with torch.no_grad():
        next(network.head.parameters()).add_(1.0)
    checkpoints.save(network, tmp_path / 'other.safetensors')
    part, name = {
        'baseline': (settings, 'baseline'),
        'teacher': (settings.label, 'teacher'),
        'start': (settings.student, 'checkpoint'),
    }[role]
    setattr(part, name, str(tmp_path / 'other.safetensors'))
    with pytest.raises(MismatchError, match={'start': 'student initial_weights'}.get(role, role)):
        retrain.run(settings)


def test_killed_at_random_in_each_stage_it_ends_in_the_same_network(tmp_path, networks):
    settings = settings_of(record(tmp_path / 'bag'), tmp_path / 'killed', networks)
    whole = retrain.run(dataclasses.replace(settings, output=str(tmp_path / 'whole')))
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(yaml.safe_dump(as_dict(settings)))
    command = [sys.executable, '-m', 'training.cli.main', 'retrain', '--recipe', str(recipe)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    chance = random.Random(int.from_bytes(os.urandom(4), 'little'))
    begun = {name: tmp_path / 'killed' / name for name in ('shards', 'labels', 'student', 'evaluation')}
    killed = []
    for name, folder in begun.items():
        child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while not (folder / 'manifest.json').exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        child.send_signal(signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            killed.append(name)
    assert {'shards', 'labels', 'student'} <= {*killed}
    subprocess.run(command, check=True, env=environment)
    again = finished_manifest(tmp_path / 'killed', 'retrain')
    for fact in ('sha256', 'verdict', 'verdict_in_words', 'agreement_with_teacher', 'images', 'licence'):
        assert again[fact] == whole[fact], fact
    for name in ('shards', 'labels'):
        ours, theirs = (sorted(Path(tmp_path, run, name).glob('*.tar')) for run in ('killed', 'whole'))
        assert [file.read_bytes() for file in ours] == [file.read_bytes() for file in theirs] != []
    results = [json.loads((tmp_path / run / 'evaluation' / 'results.json').read_text()) for run in ('killed', 'whole')]
    comparisons = [result['data']['robot']['comparisons'] for result in results]
    assert comparisons[0] == comparisons[1]
