"""The student: pseudo-labels, labelled images beside them, and what it inherits from its teacher."""

import dataclasses
import json
import shutil

import pytest
import torch

from depth_anything_ros import checkpoints
from training.data.spec import DataSpec
from training.errors import DataError, MismatchError, RecipeError
from training.initial import initial_network
from training.stages import student


def settings_of(shards, labels, output, **changes):
    small = {'architecture': 'lite0', 'encoder': 'random', 'size': [32, 64], 'steps': 1, 'batch_size': 2, 'workers': 0}
    rates = {'encoder_lr': 1e-4, 'decoder_lr': 1e-3, 'device': 'cpu'}
    unlabelled = [DataSpec('shards', str(shards), labels=str(labels))]
    return student.Settings(**{**small, **rates, 'unlabelled': unlabelled, 'output': str(output), **changes})


def test_v1_and_v2_have_the_losses_of_their_papers(small_shards, tmp_path):
    shards, labels = small_shards
    v2 = student.run(settings_of(shards, labels, tmp_path / 'v2'))
    assert {*v2['losses']} == {'unlabelled', 'gradient', 'alignment', 'total'}
    v1 = settings_of(shards, labels, tmp_path / 'v1', batch_size=3, labelled_per_batch=1, gradient_weight=0.0)
    v1.labelled = [DataSpec('shards', str(shards))]
    assert {*student.run(v1)['losses']} == {'unlabelled', 'alignment', 'labelled', 'total'}


def test_pseudo_labels_are_perturbed_and_mixed_and_labelled_images_are_not(small_shards):
    shards, labels = small_shards
    settings = settings_of(shards, labels, 'out', batch_size=6, labelled_per_batch=2, cutmix=0.25)
    settings.labelled = [DataSpec('shards', str(shards))]
    task = student.prepare(settings)
    unlabelled, labelled = task.streams
    assert (unlabelled.count, unlabelled.view.strong, unlabelled.cutmix) == (4, True, 0.25)
    assert (labelled.count, labelled.view.strong, labelled.cutmix) == (2, False, 0.0)
    settings.strong_labelled = True
    assert student.prepare(settings).streams[1].view.strong


def test_a_checkpoint_gives_all_of_it_or_its_encoder(small_shards, tmp_path):
    network, other = initial_network('lite0', 'random', seed=1), initial_network('lite0', 'random')
    checkpoints.save(network, tmp_path / 'teacher.safetensors')
    settings = settings_of(*small_shards, tmp_path, checkpoint=str(tmp_path / 'teacher.safetensors'))
    for reset_head, head in ((False, network.head), (True, other.head)):
        settings.reset_head = reset_head
        started = student.prepare(settings).network
        assert torch.equal(started.encoder.levels.conv_stem.weight, network.encoder.levels.conv_stem.weight)
        assert torch.equal(started.head.smooth.weight, head.smooth.weight)


def test_a_narrower_head_takes_the_encoder_of_a_wider_network_alone(small_shards, tmp_path):
    checkpoints.save(initial_network('lite2', 'random'), tmp_path / 'teacher.safetensors')
    changes = {'architecture': 'tiny', 'checkpoint': str(tmp_path / 'teacher.safetensors')}
    assert student.prepare(settings_of(*small_shards, tmp_path, reset_head=True, **changes)).network.head.output
    with pytest.raises(RecipeError, match='cannot start tiny'):
        student.prepare(settings_of(*small_shards, tmp_path, **changes))


def test_the_frozen_encoder_is_that_of_the_start_and_stays(small_shards, tmp_path):
    task = student.prepare(settings_of(*small_shards, tmp_path))
    frozen = task.objective.frozen_encoder
    start = initial_network('lite0', 'random').encoder.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in frozen.state_dict().items())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen.training
    with torch.no_grad():
        task.network.encoder.levels.conv_stem.weight.zero_()
    assert frozen.levels.conv_stem.weight.any()
    assert student.prepare(settings_of(*small_shards, tmp_path, alignment_weight=0.0)).objective.frozen_encoder is None


def test_a_student_inherits_the_licence_of_its_teacher(small_shards, tmp_path):
    labels = tmp_path / 'labels'
    shutil.copytree(small_shards[1], labels)
    (labels / 'manifest.json').write_text(
        json.dumps({'stage': 'label', 'state': 'finished', 'licence': 'CC-BY-NC-4.0'})
    )
    manifest = student.run(settings_of(small_shards[0], labels, tmp_path / 'out'))
    assert manifest['licence'] == 'CC-BY-NC-4.0'
    with pytest.raises(checkpoints.LicenseNotAcceptedError):
        checkpoints.load(None, tmp_path / 'out/model.safetensors')
    assert checkpoints.load(None, tmp_path / 'out/model.safetensors', accept_license=True).source.trained


def test_labels_without_their_account_make_the_licence_unknown(small_shards, tmp_path):
    labels = tmp_path / 'labels'
    shutil.copytree(small_shards[1], labels)
    assert not (labels / 'manifest.json').exists()
    start = initial_network('lite0', 'random')
    start.source = dataclasses.replace(start.source, licence='Apache-2.0')
    checkpoints.save(start, tmp_path / 'start.safetensors')
    settings = settings_of(small_shards[0], labels, tmp_path / 'out', checkpoint=str(tmp_path / 'start.safetensors'))
    assert student.run(settings)['licence'] is None


def test_labels_of_a_run_that_failed_are_not_trained_on(small_shards, tmp_path):
    labels = tmp_path / 'labels'
    shutil.copytree(small_shards[1], labels)
    (labels / 'manifest.json').write_text(json.dumps({'stage': 'label', 'state': 'failed'}))
    with pytest.raises(MismatchError, match='its label run is failed'):
        student.run(settings_of(small_shards[0], labels, tmp_path / 'out'))


@pytest.mark.parametrize(
    ('licences', 'expected'),
    [
        (['Apache-2.0', 'Apache-2.0'], 'Apache-2.0'),
        (['Apache-2.0', 'CC-BY-NC-4.0'], 'CC-BY-NC-4.0'),
        ([None, 'CC-BY-NC-4.0'], 'CC-BY-NC-4.0'),
        (['Apache-2.0', None], None),
        ([], None),
    ],
)
def test_the_strictest_licence_holds(licences, expected):
    assert student.strictest_licence(licences) == expected


def test_what_does_not_go_together_is_refused(small_shards, tmp_path):
    shards, labels = small_shards
    with pytest.raises(RecipeError, match='labelled_per_batch'):
        student.prepare(settings_of(shards, labels, tmp_path, labelled_per_batch=1))
    for changes in ({'edge_weight': 4.0}, {'strong_labelled': True}):
        with pytest.raises(RecipeError, match=f'{next(iter(changes))}: of labelled data'):
            student.prepare(settings_of(shards, labels, tmp_path, **changes))
    with pytest.raises(RecipeError, match='pairs'):
        student.run(settings_of(shards, labels, tmp_path / 'odd', batch_size=3))
    with pytest.raises(DataError, match='no shards'):
        student.prepare(settings_of(shards, tmp_path / 'none', tmp_path))


@pytest.mark.parametrize(
    'changes',
    [{'trim': 1.0}, {'cutmix': 1.5}, {'labelled_per_batch': 2}, {'alignment_margin': 2.0}, {'unlabelled_weight': 0.0}],
)
def test_values_out_of_range_are_refused(small_shards, tmp_path, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        settings_of(*small_shards, tmp_path, **changes)
