"""The teacher: labelled images in, a network out that knows more than it did."""

import numpy as np
import pytest
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.network import weights_fingerprint
from training.data import Sample
from training.data.spec import DataSpec
from training.initial import initial_network
from training.optimization import checkpoint_blocks
from training.stages import student, teacher


def settings_of(shards, output, **changes):
    small = {'architecture': 'lite0', 'encoder': 'random', 'size': [32, 64], 'steps': 2, 'batch_size': 2, 'workers': 0}
    rates = {'encoder_lr': 1e-4, 'decoder_lr': 1e-3, 'device': 'cpu'}
    data = [DataSpec('shards', str(shards))]
    return teacher.Settings(**{**small, **rates, 'data': data, 'output': str(output), **changes})


def test_a_teacher_learns_planes_and_the_best_is_kept(small_shards, tmp_path):
    data = [DataSpec('shards', str(small_shards[0]))]
    settings = settings_of(small_shards[0], tmp_path, steps=24, batch_size=4, validation=data, validate_every=12)
    manifest = teacher.run(settings)
    first = teacher.run(settings_of(small_shards[0], tmp_path / 'short', steps=1, batch_size=4))
    assert manifest['losses']['affine'] < 0.8 * first['losses']['affine']
    assert manifest['best']['loss'] < 0.6
    assert manifest['best']['step'] in (12, 24)
    for name in ('model.safetensors', 'best.safetensors'):
        network = checkpoints.load(None, tmp_path / name)
        assert network.architecture.name == 'lite0'
        assert network.source.trained


def test_learning_rates_of_encoder_and_decoder_are_apart(small_shards, tmp_path):
    teacher.run(settings_of(small_shards[0], tmp_path, encoder_lr=0.0, weight_decay=0.0))
    trained = checkpoints.load(None, tmp_path / 'model.safetensors').state_dict()
    start = initial_network('lite0', 'random').state_dict()
    moved = {name.split('.')[0] for name, value in trained.items() if not torch.equal(value, start[name])}
    assert moved == {'head'}


def test_a_transformer_learns_the_same_with_gradient_checkpointing(small_shards, tmp_path):
    settings = {'architecture': 'v2-small', 'size': [28, 42], 'steps': 1}
    teacher.run(settings_of(small_shards[0], tmp_path / 'plain', **settings))
    teacher.run(settings_of(small_shards[0], tmp_path / 'saving', **settings, gradient_checkpointing=True))
    plain, saving = (checkpoints.load(None, tmp_path / name / 'model.safetensors') for name in ('plain', 'saving'))
    assert weights_fingerprint(saving) == weights_fingerprint(plain)


def test_blocks_under_gradient_checkpointing_run_again_in_the_backward_pass():
    network = initial_network('v2-small', 'random')
    calls = []
    network.encoder.vit.blocks[3].attn.register_forward_hook(lambda *_: calls.append('attention'))
    checkpoint_blocks(network)
    network(torch.randn(1, 3, 28, 42)).sum().backward()
    assert calls == ['attention', 'attention']


@pytest.mark.parametrize('mask_sky', [False, True])
def test_validation_takes_the_sky_as_the_training_does(small_shards, mask_sky):
    shards, labels = small_shards
    validation = [DataSpec('shards', str(shards))]
    small = {
        'architecture': 'lite0',
        'encoder': 'random',
        'size': [32, 64],
        'validation': validation,
        'mask_sky': mask_sky,
    }
    taught = teacher.Settings(**small, data=validation)
    learnt = student.Settings(**small, unlabelled=[DataSpec('shards', str(shards), labels=str(labels))])
    depth = np.full((32, 64), 5.0, np.float32)
    depth[:16] = np.inf
    sample = Sample('a', np.zeros((32, 64, 3), np.uint8), depth=depth)
    for task in (teacher.prepare(taught), student.prepare(learnt)):
        known = task.validation.view(sample, np.random.default_rng(0)).mask
        assert known[16:].all()
        assert (known[:16] == (not mask_sky)).all()
