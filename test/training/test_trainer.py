"""The training loop: resumed at the very bit, the same in two processes, and loud when it fails."""

import copy
import math
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation.devices import has_cpp_compiler
from training.data.spec import DataSpec
from training.errors import DivergedError, MismatchError, RecipeError, TrainingError
from training.guards import CollapseGuard, GradientGuard
from training.initial import initial_network
from training.objectives import Trainee
from training.stages import student, teacher
from training.trainer import Trainer

# A fork of a server that has imported all of it starts at once.
processes = multiprocessing.get_context('forkserver')
processes.set_forkserver_preload(['training.stages.student', 'training.stages.teacher'])


def settings_of(shards, output, **changes):
    small = {
        'architecture': 'lite0',
        'encoder': 'random',
        'size': [32, 64],
        'steps': 8,
        'batch_size': 2,
        'encoder_lr': 1e-4,
        'decoder_lr': 1e-3,
        'workers': 0,
        'device': 'cpu',
        'log_every': 1,
    }
    data = [DataSpec('shards', str(shards[0]))]
    return teacher.Settings(**{**small, 'data': data, 'output': str(output), **changes})


def curve(output, name='loss/total'):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / 'tensorboard'), size_guidance={'scalars': 0, 'images': 0})
    events.Reload()
    points = {event.step: event.value for event in events.Scalars(name)}
    assert len(points) == len(events.Scalars(name))  # no doubles
    return points, events


def train_in_process(settings, environment=None):
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    stage = student if isinstance(settings, student.Settings) else teacher
    stage.run(settings)


def assert_same_weights(folder, other):
    # Not the files' bytes: safetensors writes the metadata in an order that changes from file to file.
    first, second = (load_file(path / 'model.safetensors') for path in (folder, other))
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def run_until(stop, settings, monkeypatch):
    """Train until Ctrl-C comes in a step."""
    real = Trainer._change_weights

    def change_weights(self, step):
        if step == stop:
            raise KeyboardInterrupt
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, '_change_weights', change_weights)
        with pytest.raises(KeyboardInterrupt):
            teacher.run(settings)


def compile_without_inductor(backend, monkeypatch):
    """Inductor's C++ takes minutes for a network; what leads up to it is the same for the debugging backends."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda *args, **options: compile_(*args, backend=backend, **options))


def join(*children):
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * len(children)


def test_a_killed_training_goes_on_to_the_very_same_weights_and_curve(small_shards, tmp_path):
    settings = settings_of(small_shards, tmp_path / 'whole', checkpoint_every=3, ema_decay=0.9, validate_every=2)
    settings.validation, settings.validation_samples = settings.data, 2
    whole = teacher.run(settings)
    # Each step waits for the disk in its own time, so where the signal hits differs from run to run.
    killed = replace(settings, output=str(tmp_path / 'killed'))
    child = processes.Process(target=train_in_process, args=(killed,))
    child.start()
    limit = time.monotonic() + 60
    while not list((tmp_path / 'killed').glob('checkpoints/step-*')) and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not (tmp_path / 'killed/model.safetensors').exists()
    resumed = teacher.run(killed)
    assert_same_weights(tmp_path / 'killed', tmp_path / 'whole')
    assert (resumed['losses'], resumed['best'], resumed['images']) == (whole['losses'], whole['best'], 16)
    assert curve(tmp_path / 'killed')[0] == curve(tmp_path / 'whole')[0]
    assert [*curve(tmp_path / 'killed')[0]] == [*range(8)]
    assert len(list((tmp_path / 'killed/checkpoints').iterdir())) == 2


def test_curves_have_no_doubles_where_steps_are_done_again(small_shards, tmp_path, monkeypatch):
    settings = settings_of(small_shards, tmp_path / 'stopped', steps=5, checkpoint_every=2)
    run_until(3, settings, monkeypatch)
    assert [*curve(tmp_path / 'stopped')[0]] == [0, 1, 2]
    teacher.run(settings)
    assert [*curve(tmp_path / 'stopped')[0]] == [0, 1, 2, 3, 4]


def test_it_trains_on_every_second_pixel_and_is_looked_at_whole(small_shards, tmp_path):
    base = settings_of(small_shards, tmp_path / 'run', steps=2, loss_stride=2, validate_every=1, picture_every=1)
    base.validation, base.validation_samples = base.data, 2
    del base.data, base.normalisation
    mixed = [DataSpec('shards', str(small_shards[0]), labels=str(small_shards[1]))]
    manifest = student.run(student.Settings(**vars(base), unlabelled=mixed, cutmix=1.0))
    assert manifest['best']['loss'] > 0
    assert curve(tmp_path / 'run')[1].Tags()['images'] == ['unlabelled']


def test_steps_take_the_sizes_in_turn(small_shards, tmp_path):
    sizes = [[64, 96], [32, 64], [96, 64]]
    changes = {'size': [64, 96], 'sizes': sizes, 'steps': 5, 'picture_every': 1}
    teacher.run(settings_of(small_shards, tmp_path / 'run', **changes))
    pictures = curve(tmp_path / 'run')[1].Images('labelled')
    # Two images of a batch above each other, each with its target and the prediction beside it.
    assert [[image.height // 2, image.width // 3] for image in pictures] == [*sizes, *sizes[:2]]


@pytest.mark.parametrize(
    ('sizes', 'error'), [([[64]], ValueError), ([[64, 0]], ValueError), ([[64, 64], [64, 50]], RecipeError)]
)
def test_sizes_that_no_network_takes_are_refused(small_shards, tmp_path, sizes, error):
    with pytest.raises(error, match='sizes'):
        teacher.run(settings_of(small_shards, tmp_path / 'run', sizes=sizes))
    assert not (tmp_path / 'run/checkpoints').exists()


def test_two_processes_have_the_curve_of_one_with_the_same_batch(small_shards, tmp_path):
    base = settings_of(small_shards, tmp_path / 'one', steps=6, size=[64, 96])
    del base.data, base.normalisation
    one = student.Settings(
        **{**vars(base), 'batch_size': 6},
        unlabelled=[DataSpec('shards', str(small_shards[0]), labels=str(small_shards[1]))],
        labelled=[DataSpec('shards', str(small_shards[0]))],
        labelled_per_batch=2,
        alignment_margin=1.0,
    )
    student.run(one)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    two = replace(one, output=str(tmp_path / 'two'))
    shared = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'ACCELERATE_USE_CPU': 'true'}
    children = [
        processes.Process(target=train_in_process, args=(two, {**shared, 'RANK': rank, 'LOCAL_RANK': rank}))
        for rank in '01'
    ]
    for child in children:
        child.start()
    join(*children)
    losses = ('total', 'unlabelled', 'labelled', 'gradient', 'alignment')
    for name in (*(f'loss/{loss}' for loss in losses), 'gradient_norm'):
        alone, together = (curve(tmp_path / folder, name)[0] for folder in ('one', 'two'))
        assert [*alone] == [*together] == [*range(6)]
        # To rounding, before and after the weights have changed; in time a weight without a gradient, which Adam moves
        # as far as any, makes more of that: on AVX-512 0.1 % at the sixth step, on AVX2 7 % of a norm at the fourth.
        expected = list(alone.values())
        assert list(together.values())[:2] == pytest.approx(expected[:2], rel=1e-4)
        assert list(together.values()) == pytest.approx(expected, rel=0.2, abs=1e-6)
    assert len({*alone.values()}) > 1


def test_parts_of_a_batch_have_the_curve_of_the_whole(small_shards, tmp_path):
    whole = settings_of(small_shards, tmp_path / 'whole', steps=3, batch_size=4)
    teacher.run(whole)
    teacher.run(replace(whole, output=str(tmp_path / 'parts'), accumulate=2))
    # AdamW's steps do not depend on the gradient's size, so a look at the losses alone would miss a wrong one.
    for name in ('loss/total', 'gradient_norm'):
        alone, parts = (curve(tmp_path / folder, name)[0] for folder in ('whole', 'parts'))
        assert list(parts.values()) == pytest.approx(list(alone.values()), rel=1e-4)


needs_compiler = pytest.mark.skipif(not has_cpp_compiler(), reason='torch.compile needs a C++ compiler on a CPU')


@pytest.mark.parametrize(
    ('changes', 'relative'),
    [
        ({'fused_optimizer': True}, 1e-4),
        ({'architecture': 'v2-small', 'size': [28, 42], 'channels_last': True}, 1e-4),
        pytest.param({'compile': True}, 1e-3, marks=needs_compiler),
    ],
    ids=['fused', 'channels-last', 'compiled'],
)
def test_what_makes_it_faster_changes_no_more_than_rounding(small_shards, tmp_path, changes, relative, monkeypatch):
    compile_without_inductor('aot_eager', monkeypatch)
    fast = settings_of(small_shards, tmp_path / 'fast', steps=3, validate_every=1, **changes)
    fast.validation, fast.validation_samples = fast.data, 2
    plain = replace(fast, output=str(tmp_path / 'plain'), compile=False, fused_optimizer=False, channels_last=False)
    teacher.run(plain)
    teacher.run(fast)
    for name in ('loss/total', 'loss/validation', 'gradient_norm'):
        expected, found = (curve(tmp_path / folder, name)[0] for folder in ('plain', 'fast'))
        assert len(expected) == 3
        assert list(found.values()) == pytest.approx(list(expected.values()), rel=relative)
    expected, found = (load_file(tmp_path / folder / 'model.safetensors') for folder in ('plain', 'fast'))
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_the_copy_that_averages_the_weights_of_a_compiled_trainee_computes_with_its_own(monkeypatch):
    compile_without_inductor('eager', monkeypatch)
    network = initial_network('lite0', 'random')
    trainee = Trainee(network, compiled=True).train()
    copied, image = copy.deepcopy(trainee), torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        before = trainee(image).map
        network.head.output.bias.add_(1)
        assert torch.allclose(trainee(image).map, before + 1, atol=1e-5)
        assert torch.allclose(copied(image).map, before, atol=1e-5)
    assert [*trainee.state_dict()] == [*Trainee(network).state_dict()]


def apart(weights, others):
    """The distance of two networks of one shape."""
    return sum(torch.sum((weights[name] - others[name]) ** 2).item() for name in others) ** 0.5


@pytest.mark.parametrize('fused', [True, False])
def test_a_training_goes_on_with_another_optimiser_kernel_and_layout(small_shards, tmp_path, monkeypatch, fused):
    options = {'architecture': 'v2-small', 'size': [28, 42], 'steps': 3, 'checkpoint_every': 1, 'weight_decay': 0.0}
    settings = settings_of(small_shards, tmp_path / 'changed', fused_optimizer=fused, channels_last=fused, **options)
    run_until(2, settings, monkeypatch)
    teacher.run(replace(settings, fused_optimizer=not fused, channels_last=not fused))
    teacher.run(replace(settings, output=str(tmp_path / 'whole'), fused_optimizer=False, channels_last=False))
    changed, whole = (load_file(tmp_path / folder / 'model.safetensors') for folder in ('changed', 'whole'))
    step = load_file(tmp_path / 'whole/checkpoints/step-000000002/model.safetensors')
    before = {name: step[f'network.{name}'] for name in whole}
    # Moments in another order would send weights elsewhere. A single weight without a gradient may go either way.
    assert apart(changed, whole) < 0.05 * apart(before, whole)
    state = torch.load(tmp_path / 'changed/checkpoints/step-000000003/optimizer.bin', weights_only=True)
    assert {bool(group['fused']) for group in state['param_groups']} == {not fused}


@pytest.mark.parametrize('there', [False, True])
def test_compile_without_a_compiler_that_works_says_what_to_do(small_shards, tmp_path, monkeypatch, there):
    monkeypatch.setenv('PATH', str(tmp_path))
    expected = r'needs a C\+\+ compiler.*apt install g\+\+'
    if there:
        (tmp_path / 'g++').write_text('#!/bin/false\n')
        (tmp_path / 'g++').chmod(0o755)
        monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path / 'cache'))
        expected = 'torch.compile fails.*set compile to false'
    with pytest.raises(RecipeError, match=expected):
        teacher.run(settings_of(small_shards, tmp_path / 'out', compile=True))


def test_clipping_limits_the_gradient(small_shards, tmp_path):
    # Not AdamW's weights, which a smaller gradient would hardly change: what it keeps of the gradient.
    settings = settings_of(small_shards, tmp_path, steps=1, clip_grad=0.5)
    teacher.run(settings)
    assert curve(tmp_path, 'gradient_norm')[0][0] > 0.5
    state = torch.load(tmp_path / 'checkpoints/step-000000001/optimizer.bin', weights_only=True)['state']
    # After one step the first moment is (1 - beta1) times the gradient.
    norm = sum((moment['exp_avg'] / 0.1).square().sum() for moment in state.values()).sqrt()
    assert norm.item() == pytest.approx(0.5, rel=1e-3)


def test_the_average_of_the_weights_is_what_is_saved(small_shards, tmp_path):
    settings = settings_of(small_shards, tmp_path / 'a', steps=1)
    teacher.run(settings)
    teacher.run(replace(settings, output=str(tmp_path / 'b'), steps=2, schedule='constant'))
    teacher.run(replace(settings, output=str(tmp_path / 'c'), steps=2, schedule='constant', ema_decay=0.75))
    first, second, average = (load_file(tmp_path / folder / 'model.safetensors') for folder in 'abc')
    for name, value in average.items():
        # AveragedModel begins with the weights after the first step.
        expected = 0.75 * first[name].double() + 0.25 * second[name].double()
        assert torch.allclose(value.double(), expected, atol=1e-6), name


def test_the_curves_say_what_one_wants_to_know_and_pictures_are_there(small_shards, tmp_path):
    manifest = teacher.run(settings_of(small_shards, tmp_path, steps=2, picture_every=1))
    events = curve(tmp_path)[1]
    wanted = {
        'loss/affine', 'loss/gradient', 'loss/total', 'learning_rate/encoder', 'learning_rate/decoder', 'gradient_norm',
        'zeros_share', 'speed/images_per_second', 'speed/waiting_share',
    }  # fmt: skip
    assert wanted == {*events.Tags()['scalars']}
    assert [event.step for event in events.Images('labelled')] == [0, 1]
    assert (events.Images('labelled')[0].width, events.Images('labelled')[0].height) == (3 * 64, 2 * 32)
    assert manifest['images_per_second'] > 0
    assert 0 <= manifest['waiting_share'] <= 1


def test_learning_rates_follow_the_schedule(small_shards, tmp_path):
    teacher.run(settings_of(small_shards, tmp_path, steps=4, warmup_steps=1, schedule='poly', poly_power=0.9))
    rates = curve(tmp_path, 'learning_rate/encoder')[0]
    expected = [0.5, 1.0, (2 / 3) ** 0.9, (1 / 3) ** 0.9]
    assert list(rates.values()) == pytest.approx([1e-4 * factor for factor in expected])
    assert curve(tmp_path, 'learning_rate/decoder')[0][1] == pytest.approx(1e-3)


def test_a_disk_that_is_full_leaves_the_checkpoint_before(small_shards, tmp_path, monkeypatch):
    from accelerate import Accelerator

    settings = settings_of(small_shards, tmp_path, steps=4, checkpoint_every=1)
    real, calls = Accelerator.save_state, []

    def save_state(self, folder, **options):
        calls.append(folder)
        real(self, folder, **options)
        if len(calls) == 3:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Accelerator, 'save_state', save_state)
    with pytest.raises(TrainingError, match=r'step-000000003 cannot be written.*No space.*step-000000002 is whole'):
        teacher.run(settings)
    assert sorted(path.name for path in (tmp_path / 'checkpoints').iterdir()) == ['step-000000001', 'step-000000002']
    monkeypatch.undo()
    assert teacher.run(settings)['steps'] == 4


def start_from(tmp_path, change):
    network = initial_network('lite0', 'random')
    with torch.no_grad():
        change(network)
    checkpoints.save(network, tmp_path / 'start.safetensors')
    return str(tmp_path / 'start.safetensors')


def test_a_loss_that_is_not_finite_stops_before_anything_bad_is_saved(small_shards, tmp_path):
    bad = start_from(tmp_path, lambda network: network.head.smooth.weight.fill_(float('nan')))
    settings = settings_of(small_shards, tmp_path / 'out', checkpoint=bad, checkpoint_every=1)
    with pytest.raises(DivergedError, match=r'step 0.*not finite \(affine nan.*lower learning rates'):
        teacher.run(settings)
    assert not list((tmp_path / 'out').glob('checkpoints/*'))


def test_weights_that_explode_are_noticed(small_shards, tmp_path):
    with pytest.raises(DivergedError):
        teacher.run(settings_of(small_shards, tmp_path, decoder_lr=1e30, encoder_lr=1e30, steps=20))


def test_an_output_that_has_collapsed_to_zero_is_noticed(small_shards, tmp_path):
    closed = start_from(tmp_path, lambda network: network.head.output.bias.fill_(-1e6))
    settings = settings_of(small_shards, tmp_path / 'out', checkpoint=closed, steps=50)
    with pytest.raises(DivergedError, match=r'step 9: the output has collapsed \(100.0% zeros'):
        teacher.run(settings)


def test_an_output_that_is_all_but_zero_is_noticed_and_a_short_one_forgiven():
    guard = CollapseGuard()
    for step in range(31):
        guard.check(step, zeros=1.0 if step % 10 else 0.5, constant=0.0)
    for step in range(31, 40):
        guard.check(step, zeros=0.9995, constant=0.25)
    with pytest.raises(DivergedError, match='step 40'):
        guard.check(40, zeros=0.9995, constant=0.25)


def test_a_gradient_that_no_scale_of_fp16_makes_finite_is_noticed_and_an_overflow_forgiven():
    guard = GradientGuard.for_scaler()
    for step in range(100):
        guard.check(step, norm=1.0 if step % 20 == 19 else math.inf)
    for step in range(100, 139):
        guard.check(step, norm=math.nan)
    with pytest.raises(DivergedError, match=r'step 139: the gradient is not finite .* for 40 steps'):
        guard.check(139, norm=math.nan)
    with pytest.raises(DivergedError, match='step 0: the gradient is not finite'):
        GradientGuard().check(0, norm=math.inf)


def test_an_output_that_is_constant_is_noticed(small_shards, tmp_path):
    flat = start_from(tmp_path, lambda network: network.head.output.weight.zero_())
    settings = settings_of(small_shards, tmp_path / 'out', checkpoint=flat, steps=50, decoder_lr=0.0)
    with pytest.raises(DivergedError, match='100% of the images constant'):
        teacher.run(settings)


def test_checkpoints_without_their_account_are_not_gone_on_with(small_shards, tmp_path):
    teacher.run(settings_of(small_shards, tmp_path, steps=2))
    (tmp_path / 'manifest.json').unlink()
    with pytest.raises(RecipeError, match=r'checkpoints/step-\d+, which no run of teacher wrote'):
        teacher.run(settings_of(small_shards, tmp_path, steps=2))


def test_a_gpu_that_is_full_is_one_line_with_what_helps(small_shards, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.\nmore')

    monkeypatch.setattr('training.trainer.Trainer._step', full)
    with pytest.raises(TrainingError, match=r'out of memory.*gradient_checkpointing') as caught:
        teacher.run(settings_of(small_shards, tmp_path, steps=2))
    assert '\n' not in str(caught.value)


def test_a_finished_training_is_left_as_it_is_and_another_recipe_refused(small_shards, tmp_path):
    settings = settings_of(small_shards, tmp_path, steps=1)
    manifest = teacher.run(settings)
    before = (tmp_path / 'model.safetensors').stat().st_mtime_ns
    assert teacher.run(settings) == manifest
    assert (tmp_path / 'model.safetensors').stat().st_mtime_ns == before
    with pytest.raises(MismatchError, match='decoder_lr'):
        teacher.run(replace(settings, decoder_lr=2e-3))


def test_a_checkpoint_that_is_damaged_is_named(small_shards, tmp_path):
    settings = settings_of(small_shards, tmp_path, steps=2)
    teacher.run(settings)
    manifest = (tmp_path / 'manifest.json').read_text()
    (tmp_path / 'manifest.json').write_text(manifest.replace('"finished"', '"running"'))
    (tmp_path / 'checkpoints/step-000000002/model.safetensors').write_bytes(b'nonsense')
    with pytest.raises(TrainingError, match=r'step-000000002 cannot be read.*remove that folder'):
        teacher.run(settings)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'output': 'memory://model'}, 'folder on this machine'),
        ({'output': ''}, 'output=FOLDER'),
        ({'size': [33, 64]}, 'multiples of 32'),
        ({'accumulate': 3}, 'cannot be divided'),
        ({'gradient_checkpointing': True}, 'transformer blocks'),
        ({'data': []}, 'no data'),
    ],
)
def test_settings_that_cannot_work_are_refused(small_shards, tmp_path, changes, said):
    with pytest.raises(RecipeError, match=said):
        teacher.run(replace(settings_of(small_shards, tmp_path), **changes))


@pytest.mark.parametrize(
    'changes',
    [
        {'steps': 0}, {'batch_size': 0}, {'ema_decay': 1.0}, {'betas': [0.9]}, {'size': [32]}, {'warmup_steps': 8},
        {'encoder_lr': -1.0}, {'encoder_lr': float('nan')}, {'encoder_lr': 0.0, 'decoder_lr': 0.0}, {'trim': 1.0},
        {'trim': 0.1, 'edge_weight': 1.0}, {'edge_weight': -1.0}, {'normalisation': 'mode'},
        {'trim': 0.1, 'normalisation': 'mean'},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(small_shards, tmp_path, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        settings_of(small_shards, tmp_path, **changes)
