"""Pseudo-labels: of any teacher, whole or not there, the same however they were made, and every failure counted."""

import dataclasses
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import DeviceMemoryError
from training.data import Sample, ShardDataset, ShardWriter
from training.data.shards import encode_sample
from training.errors import DataError, MismatchError, RecipeError, TrainingError
from training.files import Folder
from training.initial import initial_network
from training.run import finished_manifest
from training.stages import label
from training.teachers import NetworkTeacher, TeacherSpec, open_teacher


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """A network as a stage leaves it."""
    path = tmp_path_factory.mktemp('teacher') / 'model.safetensors'
    network = initial_network('lite0', 'random')
    network.source = network.source.__class__('lite0', trained=True, licence='CC-BY-NC-4.0')
    checkpoints.save(network, path)
    return path


def settings_of(shards, output, teacher, **changes):
    small = {'input_size': 64, 'workers': 0, 'device': 'cpu', 'precision': 'fp32', 'accept_license': True}
    return label.Settings(**{**small, 'shards': str(shards), 'output': str(output), 'teacher': str(teacher), **changes})


def images_of(folder, count, spoil=()):
    """Shards of 5 noisy pictures each; those of spoil are cut off."""

    def parts(number):
        coarse = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
        image = cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC)
        whole = encode_sample(Sample(f'i{number:03d}', image))
        return {**whole, 'jpg': whole['jpg'][: len(whole['jpg']) // 2]} if number in spoil else whole

    writer = ShardWriter(Folder(folder))
    for start in range(0, count, 5):
        numbers = range(start, min(start + 5, count))
        writer.write(f'train-{start // 5:06d}', ((f'i{number:03d}', parts(number)) for number in numbers))
    return folder


def labels_in(folder):
    return sorted(path.relative_to(folder) for path in [*Path(folder).glob('train-*'), *Path(folder).glob('reports/*')])


def assert_same_labels(one, other):
    assert labels_in(one) == labels_in(other) != []
    assert filecmp.cmpfiles(one, other, labels_in(one), shallow=False)[1:] == ([], [])


def test_labels_are_what_the_teacher_sees_in_the_clean_image(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 7)
    manifest = label.run(settings_of(shards, tmp_path / 'labels', teacher))
    assert (manifest['images'], manifest['failed'], manifest['shards']) == (7, 0, 2)
    assert manifest['images_per_second'] > 0
    see = open_teacher(TeacherSpec(str(teacher), input_size=64, device='cpu', precision='fp32', accept_license=True))
    labelled = ShardDataset(shards, 'train', tmp_path / 'labels')
    for sample in (labelled[0], labelled[6]):
        (seen,) = see([sample.image])
        stored = cv2.resize(sample.disparity, seen.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.corrcoef(stored.ravel(), seen.ravel())[0, 1] > 0.99
        assert sample.disparity.max() == pytest.approx(seen.max(), rel=0.05)


def test_a_mean_label_is_of_all_sizes_and_does_not_depend_on_left_and_right(tmp_path, teacher):
    def see(image, **changes):
        (seen,) = open_teacher(TeacherSpec(str(teacher), device='cpu', accept_license=True, **changes))([image])
        return (seen - seen.mean()) / seen.std()

    image = ShardDataset(images_of(tmp_path / 'shards', 1))[0].image
    mirrored, both = cv2.flip(image, 1), {'input_size': 96, 'also_at': [64], 'mirrored': True}
    np.testing.assert_allclose(see(image, **both), cv2.flip(see(mirrored, **both), 1), atol=1e-4)
    assert np.abs(see(image, input_size=96) - cv2.flip(see(mirrored, input_size=96), 1)).max() > 0.1
    opinions = [see(image, input_size=size) for size in (96, 64)]
    opinions += [cv2.flip(see(mirrored, input_size=size), 1) for size in (96, 64)]
    mean = np.mean([cv2.resize(one, opinions[0].shape[::-1]) for one in opinions], axis=0)
    np.testing.assert_allclose(see(image, **both), (mean - mean.mean()) / mean.std(), atol=1e-4)
    manifest = label.run(settings_of(tmp_path / 'shards', tmp_path / 'labels', teacher, also_at=[96], mirrored=True))
    assert manifest['images'] == 1


def test_sizes_that_the_teacher_cannot_see_are_refused(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 1)
    with pytest.raises(RecipeError, match='also_at must be a multiple of 32, got 100'):
        label.run(settings_of(shards, tmp_path / 'labels', teacher, also_at=[96, 100]))
    with pytest.raises(ValueError, match='also_at'):
        settings_of(shards, tmp_path / 'labels', teacher, also_at=[0])


def test_the_manifest_names_the_teacher_and_its_licence(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 2)
    manifest = label.run(settings_of(shards, tmp_path / 'labels', teacher))
    assert manifest['licence'] == 'CC-BY-NC-4.0'
    assert manifest['teacher'] == {'name': str(teacher), 'fingerprint': manifest['inputs']['teacher']}


def test_other_shards_another_teacher_or_precision_are_refused_in_the_same_folder(tmp_path, teacher):
    first = images_of(tmp_path / 'shards', 2)
    label.run(settings_of(first, tmp_path / 'labels', teacher))
    with pytest.raises(MismatchError, match='shards'):
        label.run(settings_of(images_of(tmp_path / 'more', 3), tmp_path / 'labels', teacher))
    other = tmp_path / 'other.safetensors'
    checkpoints.save(initial_network('lite0', 'random', seed=1), other)
    with pytest.raises(MismatchError, match='teacher'):
        label.run(settings_of(first, tmp_path / 'labels', other))
    for name, value in (('precision', 'bf16'), ('backend', 'openvino')):
        with pytest.raises(MismatchError, match=f'{name} was'):
            label.run(settings_of(first, tmp_path / 'labels', teacher, **{name: value}))


def test_a_corrupt_jpeg_costs_its_own_label_only_and_is_counted(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 10, spoil=[3])
    manifest = label.run(settings_of(shards, tmp_path / 'labels', teacher, max_failed_fraction=0.2, batch_size=4))
    assert (manifest['images'], manifest['failed']) == (9, 1)
    ((reason, count),) = manifest['failed_by_reason'].items()
    assert count == 1
    assert 'JPEG' in reason
    labelled = ShardDataset(shards, labels=tmp_path / 'labels')
    assert [labelled.key(index) for index in range(9)] == [f'i{number:03d}' for number in range(10) if number != 3]


def test_too_many_failures_stop_it_and_what_was_done_stays(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 10, spoil=[6, 7])
    settings = settings_of(shards, tmp_path / 'labels', teacher, max_failed_fraction=0.1)
    with pytest.raises(DataError, match=r'2 of 10 images have no label.*max_failed_fraction=0.1'):
        label.run(settings)
    before = (tmp_path / 'labels' / 'train-000000.tar').stat()
    manifest = label.run(settings_of(shards, tmp_path / 'labels', teacher, max_failed_fraction=0.2))
    assert manifest['images'] == 8
    assert (tmp_path / 'labels' / 'train-000000.tar').stat().st_mtime_ns == before.st_mtime_ns


def test_a_teacher_that_gives_nan_stops_at_the_first_shard(tmp_path):
    network = initial_network('lite0', 'random')
    with torch.no_grad():
        next(network.parameters()).fill_(float('nan'))
    checkpoints.save(network, tmp_path / 'nan.safetensors')
    shards = images_of(tmp_path / 'shards', 10)
    with pytest.raises(DataError, match='NaN'):
        label.run(settings_of(shards, tmp_path / 'labels', tmp_path / 'nan.safetensors'))
    assert not (tmp_path / 'labels' / 'train-000001.tar').exists()


def test_a_gpu_that_is_full_for_a_moment_costs_no_image_its_label(tmp_path, teacher, monkeypatch):
    shards = images_of(tmp_path / 'shards', 10)
    settings = settings_of(shards, tmp_path / 'labels', teacher, batch_size=4, max_failed_fraction=0.5)
    predict, most = NetworkTeacher.__call__, 0

    def full(self, images):
        if len(images) > most:
            raise DeviceMemoryError('the memory of the GPU is full')
        return predict(self, images)

    monkeypatch.setattr(NetworkTeacher, '__call__', full)
    with pytest.raises(TrainingError, match='full'):
        label.run(settings)
    most = 1  # room for one image at a time
    manifest = label.run(settings)
    assert (manifest['images'], manifest['failed']) == (10, 0)


def test_shards_that_are_not_all_there_yet_are_not_labelled(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 5)
    (shards / 'manifest.json').write_text(json.dumps({'stage': 'ingest', 'state': 'running'}))
    with pytest.raises(MismatchError, match='its ingest run is running'):
        label.run(settings_of(shards, tmp_path / 'labels', teacher))


def test_a_metric_teacher_gives_the_inverse_of_its_metres(tmp_path):
    checkpoints.save(initial_network('lite0', 'random', max_depth=20.0), tmp_path / 'metric.safetensors')
    spec = TeacherSpec(str(tmp_path / 'metric.safetensors'), input_size=64, device='cpu', precision='fp32')
    (seen,) = open_teacher(spec)([np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)])
    assert (seen >= 1 / 20).all()


@pytest.mark.parametrize('kind', ['disparity', 'depth'])
def test_an_onnx_model_is_a_teacher_too(tmp_path, kind):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    nodes = [  # 2 + 0.5 * the mean of the normalised channels
        onnx.helper.make_node('ReduceMean', ['image', 'axes'], ['mean'], keepdims=0),
        onnx.helper.make_node('Mul', ['mean', 'half'], ['scaled']),
        onnx.helper.make_node('Add', ['scaled', 'two'], ['depth']),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([1]), 'axes'),
        onnx.numpy_helper.from_array(np.float32(0.5), 'half'),
        onnx.numpy_helper.from_array(np.float32(2), 'two'),
    ]
    image = onnx.helper.make_tensor_value_info('image', onnx.TensorProto.FLOAT, ['n', 3, 'h', 'w'])
    depth = onnx.helper.make_tensor_value_info('depth', onnx.TensorProto.FLOAT, ['n', 'h', 'w'])
    graph = onnx.helper.make_graph(nodes, 'teacher', [image], [depth], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=9)
    onnx.save(model, tmp_path / 'teacher.onnx')
    grey = np.full((28, 42, 3), 128, np.uint8)
    spec = TeacherSpec(str(tmp_path / 'teacher.onnx'), kind=kind, input_size=28, device='cpu')
    (seen,) = open_teacher(spec)([grey])
    mean = np.mean((128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]))
    expected = 2 + 0.5 * mean
    assert seen.shape == (28, 42)
    assert seen == pytest.approx(expected if kind == 'disparity' else 1 / expected, rel=1e-4)


@pytest.mark.parametrize('output', ['photos', 'link', 'others'])
def test_tars_of_another_maker_are_never_written_over(tmp_path, teacher, output):
    images_of(tmp_path / 'photos', 2)
    (tmp_path / 'photos' / 'train-000000.index.json').unlink()
    shutil.copytree(tmp_path / 'photos', tmp_path / 'others')
    (tmp_path / 'link').symlink_to(tmp_path / 'photos')
    tar = tmp_path / output / 'train-000000.tar'
    before = tar.read_bytes()
    with pytest.raises(RecipeError, match=r'train-000000\.tar.*name another output'):
        label.run(settings_of(tmp_path / 'photos', tmp_path / output, teacher))
    assert tar.read_bytes() == before
    assert not (tmp_path / output / 'manifest.json').exists()


def test_what_is_no_teacher_is_named_in_one_line(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 2)
    with pytest.raises(RecipeError, match='input_size must be a multiple of 32, got 50'):
        label.run(settings_of(shards, tmp_path / 'labels', teacher, input_size=50))
    with pytest.raises(RecipeError, match='name a teacher'):
        label.run(settings_of(shards, tmp_path / 'labels', ''))
    with pytest.raises(DataError, match=r'absent\.safetensors'):
        label.run(settings_of(shards, tmp_path / 'labels', tmp_path / 'absent.safetensors'))
    assert not (tmp_path / 'labels').exists()


def test_a_file_that_is_no_onnx_model_is_named(tmp_path):
    pytest.importorskip('onnxruntime')
    shards = images_of(tmp_path / 'shards', 2)
    (tmp_path / 'broken.onnx').write_bytes(b'no model')
    with pytest.raises(DataError, match=r'broken\.onnx'):
        label.run(settings_of(shards, tmp_path / 'labels', tmp_path / 'broken.onnx', input_size=28))
    assert not (tmp_path / 'labels' / 'train-000000.tar').exists()


@pytest.fixture
def one_thread():
    """As Ray gives a worker with one CPU: sums in another order would round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures('one_thread')
def test_ray_gives_the_same_bytes_as_one_process(tmp_path, teacher):
    pytest.importorskip('ray.data')
    shards = images_of(tmp_path / 'shards', 15, spoil=[4])
    allowed = {'max_failed_fraction': 0.5}
    alone = label.run(settings_of(shards, tmp_path / 'alone', teacher, **allowed))
    many = label.run(settings_of(shards, tmp_path / 'many', teacher, workers=1, **allowed))
    assert_same_labels(tmp_path / 'alone', tmp_path / 'many')
    facts = ('images', 'failed', 'failed_by_reason', 'shards', 'inputs', 'licence')
    assert [alone[name] for name in facts] == [many[name] for name in facts]


def test_an_error_of_a_ray_worker_comes_out_as_itself(tmp_path, teacher):
    pytest.importorskip('ray.data')
    shards = images_of(tmp_path / 'shards', 5)
    settings = settings_of(shards, tmp_path / 'labels', teacher, workers=1)
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'reports').write_text('in the way')
    with pytest.raises(FileExistsError, match='reports'):
        label.run(settings)
    (tmp_path / 'labels' / 'reports').unlink()
    assert label.run(dataclasses.replace(settings, workers=0))['images'] == 5


@pytest.mark.usefixtures('one_thread')
def test_killed_and_started_again_it_ends_in_the_same_labels(tmp_path, teacher):
    shards = images_of(tmp_path / 'shards', 150)
    label.run(settings_of(shards, tmp_path / 'whole', teacher))
    command = [sys.executable, '-m', 'training.cli.main', 'label', f'shards={shards}', f'teacher={teacher}']
    command += ['input_size=64', 'workers=0', 'device=cpu', 'precision=fp32', 'accept_license=true']
    command += [f'output={tmp_path / "killed"}']
    child = subprocess.Popen(command, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    deadline = time.monotonic() + 60
    while not (tmp_path / 'killed' / 'train-000001.tar').exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / 'killed' / 'train-000029.index.json').exists(), 'it was not killed in time'
    # As if it had been killed in the midst of writing, which the moment of the signal decides.
    (tmp_path / 'killed' / 'reports' / '.train-000020.json.1.unfinished').write_text('{')
    (tmp_path / 'killed' / '.train-000020.tar.1.unfinished').write_bytes(b'part')
    subprocess.run(command, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert not list((tmp_path / 'killed').rglob('*.unfinished'))
    assert_same_labels(tmp_path / 'whole', tmp_path / 'killed')
    assert finished_manifest(tmp_path / 'killed', 'label')['images'] == 150
