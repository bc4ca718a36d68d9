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

import cv2
import numpy as np
import pytest
import torch
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from depth_anything_ros import checkpoints
from training.errors import DataError, MismatchError, RecipeError
from training.initial import initial_network
from training.recipe import as_dict
from training.run import finished_manifest
from training.stages import ingest, label, retrain, student

TYPES = get_typestore(Stores.LATEST)
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 500_000_000
FRAMES, HEIGHT, WIDTH = 44, 96, 128


def seen(index):
    """A floor that rises towards the camera under blocks, and its depth in metres."""
    rng = np.random.default_rng(index)
    image = np.repeat(np.repeat(rng.integers(40, 215, (12, 16, 3), np.uint8), 8, 0), 8, 1)
    depth = np.linspace(6.0, 1.0, HEIGHT)[:, None] * np.ones((1, WIDTH)) * rng.uniform(0.8, 1.2)
    return image, depth


def header(index):
    stamp = TYPES.types['builtin_interfaces/msg/Time'](*divmod(START_NS + index * PERIOD_NS, 10**9))
    return TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')


def messages(compressed, with_depth):
    image_message, info = TYPES.types['sensor_msgs/msg/Image'], TYPES.types['sensor_msgs/msg/CameraInfo']
    roi = TYPES.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    k = np.array([90.0, 0, WIDTH / 2, 0, 90.0, HEIGHT / 2, 0, 0, 1])
    p = np.hstack([k.reshape(3, 3), np.zeros((3, 1))]).ravel()
    for index in range(FRAMES):
        image, depth = seen(index)
        one = header(index)
        yield (
            index,
            '/camera_info',
            info(one, HEIGHT, WIDTH, 'plumb_bob', np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi),
        )
        if compressed:
            data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].ravel()
            yield index, '/image/compressed', TYPES.types['sensor_msgs/msg/CompressedImage'](one, 'jpeg', data)
        else:
            yield index, '/image', image_message(one, HEIGHT, WIDTH, 'rgb8', 0, WIDTH * 3, image.ravel())
        if with_depth:
            data = np.frombuffer((depth * 1000).astype(np.uint16).tobytes(), np.uint8)
            yield index, '/depth', image_message(one, HEIGHT, WIDTH, '16UC1', 0, 2 * WIDTH, data)


def record(path, plugin=StoragePlugin.SQLITE3, compressed=False, with_depth=True):
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for index, topic, message in messages(compressed, with_depth):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], START_NS + index * PERIOD_NS, TYPES.serialize_cdr(message, kind))
    return path


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """What the robot has, and the teacher."""
    folder = tmp_path_factory.mktemp('networks')
    for seed, name in enumerate(('old', 'teacher')):
        network = initial_network('lite0', 'random', seed=seed)
        network.source = dataclasses.replace(network.source, trained=True, licence='Apache-2.0')
        checkpoints.save(network, folder / f'{name}.safetensors')
    return folder


def settings_of(bag, output, networks, depth_topics=('/depth',), **changes):
    return retrain.Settings(
        bags=[str(bag)],
        output=str(output),
        input_size=64,
        pictures=1,
        ingest=ingest.Settings(
            held_out_fraction=0.3,
            held_out_block_s=3.0,
            held_out_gap_s=0.4,
            shard_size=8,
            max_saturated=1.0,
            min_sharpness=0.0,
            depth_topics=list(depth_topics),
        ),
        label=label.Settings(
            str(networks / 'teacher.safetensors'), input_size=64, workers=0, device='cpu', precision='fp32'
        ),
        student=student.Settings(
            architecture='lite0',
            checkpoint=str(networks / 'old.safetensors'),
            size=[64, 64],
            steps=4,
            batch_size=2,
            encoder_lr=1e-4,
            decoder_lr=1e-3,
            validate_every=2,
            validation_samples=2,
            checkpoint_every=1,
            device='cpu',
            workers=0,
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ('plugin', 'compressed'),
    [(StoragePlugin.SQLITE3, False), (StoragePlugin.MCAP, True)],
    ids=['sqlite3-raw', 'mcap-jpeg'],
)
def test_a_bag_becomes_a_checkpoint_and_a_verdict_in_numbers(tmp_path, networks, plugin, compressed):
    bag = record(tmp_path / 'bag', plugin, compressed)
    output = tmp_path / 'new'
    manifest = retrain.run(settings_of(bag, output, networks))
    assert manifest['verdict'] in ('better', 'worse', 'no difference seen')
    assert 'abs_rel' in manifest['verdict_in_words']
    assert manifest['agreement_with_teacher']['images'] > 5
    assert all(speed > 0 for speed in manifest['images_per_second'].values())
    report = (output / 'report.md').read_text()
    assert manifest['verdict_in_words'] in report
    assert f'checkpoint:={output}/model.safetensors' in report
    assert (output / 'evaluation' / 'report.html').exists()
    new = checkpoints.load(None, output / 'model.safetensors')
    old = checkpoints.load(None, networks / 'old.safetensors')
    assert new.source.licence == 'Apache-2.0'
    assert any(not torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True))


def test_nothing_is_claimed_of_a_log_without_metric_depth(tmp_path, networks):
    bag = record(tmp_path / 'bag', with_depth=False)
    manifest = retrain.run(settings_of(bag, tmp_path / 'new', networks, ()))
    assert manifest['verdict'] == 'unknown'
    assert 'record a depth image or a LiDAR cloud' in (tmp_path / 'new' / 'report.md').read_text()
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
    assert not output.exists()


def test_another_bag_is_another_output(tmp_path, networks):
    settings = settings_of(record(tmp_path / 'bag'), tmp_path / 'new', networks)
    retrain.run(settings)
    other = record(tmp_path / 'other', compressed=True)
    with pytest.raises(MismatchError, match='bag other'):
        retrain.run(dataclasses.replace(settings, bags=[str(other)]))


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
