"""The training loop of all stages that train a network: one process, several, or several machines (accelerate)."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from depth_anything_ros import checkpoints
from depth_anything_ros.network import DepthAnything, WeightSource
from training.checkpointing import CHECKPOINTS, CheckpointFolder
from training.compilation import check_compiler, compiler_errors
from training.data.batch import Batch, StreamBatch
from training.data.loading import Batches, Stream
from training.errors import RecipeError, TrainingError
from training.guards import CollapseGuard, GradientGuard, check_finite, output_health, unused_parameters
from training.monitor import Monitor
from training.objectives import Objective, Trainee
from training.optimization import (
    average_of_weights,
    checkpoint_blocks,
    fit_optimizer_state,
    learning_rate_factor,
    make_optimizer,
    set_learning_rates,
)
from training.settings import TrainSettings
from training.validation import Validation, validation_loss

MODEL, BEST = 'model.safetensors', 'best.safetensors'
# The steps at the end whose mean loss the manifest has.
_LAST_STEPS = 50


@dataclass
class Task:
    """What a stage gives to the loop.

    Attributes:
        network: with the weights to start from.
        streams: of samples.
        objective: what is minimised.
        inputs: fingerprints of what is trained on and started from, by name.
        licence: SPDX identifier that the trained weights are under, None if nobody knows.
        frozen: modules that the objective uses beside the network, to be moved to its device.
        validation: what to look at while it trains, None for nothing.
    """

    network: DepthAnything
    streams: list[Stream]
    objective: Objective
    inputs: dict[str, str]
    licence: str | None = None
    frozen: list[torch.nn.Module] = field(default_factory=list)
    validation: Validation | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of all inputs, the validation's too."""
        if self.validation is None:
            return self.inputs
        return {**self.inputs, 'validation': self.validation.dataset.fingerprint}


@dataclass
class Progress:
    """What a checkpoint notes beside the weights; JSON values."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    waiting_s: float = 0.0
    skipped: dict[str, int] = field(default_factory=dict)
    last_losses: list[dict[str, float]] = field(default_factory=list)
    collapsed_steps: int = 0
    best: dict[str, float] = field(default_factory=dict)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """A TrainingError, with what helps, where a step needs more memory than the GPU has."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).split('\n', 1)[0]
        raise TrainingError(
            f'{reason}: raise accumulate, set gradient_checkpointing, or take a smaller size; the same command goes on '
            'from the last checkpoint'
        ) from error


class Trainer:
    """Trains a task's network in an output folder; goes on from its last checkpoint.

    Losses are means over images, and each process has an equal part of every batch. So the number of processes, and of
    the parts in which each takes its own, change nothing but the rounding.
    """

    def __init__(self, task: Task, settings: TrainSettings, accelerator: Accelerator, output: Path, title: str) -> None:
        """Prepare; raises RecipeError where the settings do not fit the network or the processes."""
        self._task, self._settings, self._accelerator = task, settings, accelerator
        self._output, self._title = output, title
        self._sizes = settings.seen(task.network.multiple)
        for stream in task.streams:
            check_parts(stream.name, stream.count, settings.accumulate, accelerator.num_processes)
        if settings.ema_decay and accelerator.distributed_type.value == 'FSDP':
            raise RecipeError(
                'ema_decay needs each process to have all weights: use DDP in place of FSDP, or set it to 0'
            )
        if settings.compile:
            check_compiler(accelerator)
        if settings.gradient_checkpointing:
            checkpoint_blocks(task.network)
        pyramid_on_cpu = task.network.architecture.pyramid and accelerator.device.type == 'cpu'
        if pyramid_on_cpu or settings.channels_last:
            # In this layout a pyramid's convolutions take two thirds of the time on a CPU; they round otherwise.
            for module in (task.network, *task.frozen):
                module.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(task.network, settings)
        self._model, self._optimizer = accelerator.prepare(
            Trainee(task.network, settings.loss_stride, compiled=settings.compile).train(), optimizer
        )
        for module in task.frozen:
            module.to(accelerator.device)
        self._average = None
        if settings.ema_decay:
            self._average = average_of_weights(accelerator.unwrap_model(self._model), settings.ema_decay)
            accelerator.register_for_checkpointing(self._average)
        self._checkpoints = CheckpointFolder(output / CHECKPOINTS)
        self._guard = CollapseGuard()
        self._gradient_guard = GradientGuard() if accelerator.scaler is None else GradientGuard.for_scaler()

    def train(self, watch: Callable[[Progress], None] | None = None) -> dict[str, Any]:
        """Train to the end, and save the model; returns facts for the manifest.

        Args:
            watch: called after each step, before what is done only now and then, with how far the training is.

        Raises:
            RecipeError: torch.compile fails.
            DivergedError: a loss or gradient is not finite, or the output has collapsed.
            DataError: too many samples are bad, or a checkpoint cannot be read.
            TrainingError: a checkpoint cannot be written, or the GPU's memory is too little.
        """
        progress = Progress(**self._checkpoints.load(self._accelerator))
        fit_optimizer_state(self._optimizer, fused=self._settings.fused_optimizer)
        self._guard.steps = progress.collapsed_steps
        monitor = None
        if self._accelerator.is_main_process:
            monitor = Monitor(self._output / 'tensorboard', progress.step, self._settings.steps, self._title)
        try:
            with compiler_errors(self._settings.compile), _memory_errors():
                self._loop(progress, monitor, watch)
        finally:
            if monitor is not None:
                monitor.close()
        self._save(MODEL)
        return self._facts(progress)

    def _loop(self, progress: Progress, monitor: Monitor | None, watch: Callable[[Progress], None] | None) -> None:
        settings, start = self._settings, replace(progress)
        batches = self._batches(progress.step)
        last = deque(progress.last_losses, maxlen=_LAST_STEPS)
        begun = time.perf_counter()
        for batch in batches:
            step = batch.step
            losses, facts = self._step(batch.to(self._accelerator.device), monitor)
            last.append(losses)
            progress.step = step + 1
            progress.images = start.images + (step + 1 - start.step) * sum(s.count for s in self._task.streams)
            progress.seconds = start.seconds + time.perf_counter() - begun - batches.startup_s
            progress.waiting_s = start.waiting_s + batches.waiting_s
            if watch is not None:
                watch(progress)
            if monitor is not None:
                monitor.step(losses['total'])
                if step % settings.log_every == 0:
                    speed = {'images_per_second': _speed(progress), 'waiting_share': batches.waiting_share()}
                    monitor.scalars(step, {**_prefixed('loss', losses), **facts, **_prefixed('speed', speed)})
            ends = progress.step == settings.steps
            if self._task.validation and (progress.step % settings.validate_every == 0 or ends):
                self._validate(progress, monitor)
            if progress.step % settings.checkpoint_every == 0 or ends:
                progress.last_losses, progress.collapsed_steps = list(last), self._guard.steps
                progress.skipped = self._all_skipped(start.skipped, batches.skipped)
                if monitor is not None:
                    monitor.flush()
                self._checkpoints.save(self._accelerator, progress.step, vars(progress))

    def _batches(self, start: int) -> Batches:
        settings, accelerator = self._settings, self._accelerator
        return Batches(
            self._task.streams,
            settings.seed,
            settings.steps,
            start,
            accelerator.process_index,
            accelerator.num_processes,
            settings.workers,
            settings.max_bad_fraction,
        )

    def _step(self, batch: Batch, monitor: Monitor | None) -> tuple[dict[str, float], dict[str, float]]:
        """One change of the weights; returns the losses, and other facts, of all processes' batch."""
        accelerator, optimizer = self._accelerator, self._optimizer
        rates = set_learning_rates(optimizer, learning_rate_factor(batch.step, self._settings))
        size = self._sizes[batch.step % len(self._sizes)]
        streams = {
            name: stream.at_size(size).every(self._settings.loss_stride) for name, stream in batch.streams.items()
        }
        parts = split(streams, self._settings.accumulate)
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            if number < len(parts):
                # Gradients are exchanged with the last part's.
                with accelerator.no_sync(self._model):
                    self._backward(part, len(parts), sums)
            else:
                maps = self._backward(part, len(parts), sums)
        means = self._mean_over_processes(sums)
        zeros, constant = means.pop('zeros'), means.pop('constant')
        check_finite(batch.step, means)
        if self._task.network.architecture.kind == 'disparity':
            self._guard.check(batch.step, zeros, constant)
        norm = self._change_weights(batch.step)
        if monitor is not None and batch.step % self._settings.picture_every == 0:
            monitor.pictures(batch.step, parts[-1], maps)
        return means, {'gradient_norm': norm, 'zeros_share': zeros, **_prefixed('learning_rate', rates)}

    def _backward(self, part: Mapping[str, StreamBatch], parts: int, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add a part's gradient, and its values to the sums; returns the maps by stream."""
        with self._accelerator.autocast():
            losses = self._task.objective(self._model, part)
        total = losses.total
        self._accelerator.backward(total / parts)
        zeros, constant = output_health(torch.cat(list(losses.maps.values())))
        for name, value in {**losses.terms, 'total': total, 'zeros': zeros, 'constant': constant}.items():
            sums[name] = sums.get(name, 0) + value.detach().float() / parts
        return losses.maps

    def _mean_over_processes(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        # One exchange, and one wait for the device, for all of them.
        means = self._accelerator.reduce(torch.stack(list(values.values())), 'mean')
        return dict(zip(values, means.tolist(), strict=True))

    def _change_weights(self, step: int) -> float:
        """Apply the gradients; returns their norm before it was clipped."""
        accelerator = self._accelerator
        if step == 0 and (unused := unused_parameters(self._model)):
            raise TrainingError(f'no loss depends on the parameters {", ".join(unused[:5])}: they would never learn')
        limit = self._settings.clip_grad or float('inf')
        norm = float(accelerator.clip_grad_norm_(self._model.parameters(), limit))
        self._gradient_guard.check(step, norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(accelerator.unwrap_model(self._model))
        return norm

    def _validate(self, progress: Progress, monitor: Monitor | None) -> None:
        model = self._model if self._average is None else self._average.module
        loss = validation_loss(model, self._task.validation, self._settings, self._accelerator)
        if monitor is not None:
            monitor.scalars(progress.step, {'loss/validation': loss})
        if not progress.best or loss < progress.best['loss']:
            progress.best = {'step': progress.step, 'loss': loss}
            self._save(BEST)

    def _save(self, name: str) -> None:
        """Write the network, or the average of its weights, as a file that names itself and its licence."""
        if self._average is None:
            # Collective: with FSDP each process gives its part.
            weights = self._accelerator.get_state_dict(self._model)
        else:
            weights = self._average.module.state_dict()
        if self._accelerator.is_main_process:
            architecture = self._task.network.architecture
            network = DepthAnything(architecture)
            network.load_state_dict({key.removeprefix('network.'): value for key, value in weights.items()})
            network.source = WeightSource(architecture.name, trained=True, licence=self._task.licence)
            checkpoints.save(network, self._output / name)
        self._accelerator.wait_for_everyone()

    def _all_skipped(self, before: Mapping[str, int], here: Mapping[str, int]) -> dict[str, int]:
        total: Counter[str] = Counter(before)
        for skipped in gather_object([dict(here)]):
            total.update(skipped)
        return dict(total)

    def _facts(self, progress: Progress) -> dict[str, Any]:
        losses = progress.last_losses
        return {
            'steps': progress.step,
            'images': progress.images,
            'images_per_second': round(_speed(progress), 3),
            'waiting_share': round(progress.waiting_s / max(progress.seconds, 1e-9), 4),
            'processes': self._accelerator.num_processes,
            'losses': {name: sum(step[name] for step in losses) / len(losses) for name in losses[-1]},
            'skipped': sum(progress.skipped.values()),
            'skipped_samples': progress.skipped,
            **({'best': progress.best} if progress.best else {}),
        }


def split(streams: Mapping[str, StreamBatch], parts: int) -> list[dict[str, StreamBatch]]:
    """Each stream's samples in so many equal parts."""
    return [{name: _part(batch, number, parts) for name, batch in streams.items()} for number in range(parts)]


def _part(batch: StreamBatch, number: int, parts: int) -> StreamBatch:
    size = len(batch.keys) // parts
    window = slice(number * size, (number + 1) * size)
    return replace(batch, **{name: value[window] for name, value in vars(batch).items() if value is not None})


def check_parts(name: str, count: int, accumulate: int, processes: int) -> None:
    """Raise RecipeError where a stream's samples of a batch cannot be divided into the parts of all processes."""
    if count % (processes * accumulate):
        raise RecipeError(
            f'stream {name}: {count} samples a batch cannot be divided over {processes} processes in {accumulate} '
            'parts each (accumulate)'
        )


def _speed(progress: Progress) -> float:
    return progress.images / max(progress.seconds, 1e-9)


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f'{prefix}/{name}': value for name, value in values.items()}
