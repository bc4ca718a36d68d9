"""A stage that trains a network: from its settings to the finished run, in all its processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import broadcast_object_list, set_seed

from depth_anything_ros.network import DepthAnything, WeightSource
from training.checkpointing import CHECKPOINTS, STEPS
from training.errors import RecipeError
from training.files import Folder
from training.initial import initial_network
from training.run import Run
from training.settings import TrainSettings
from training.trainer import MODEL, Task, Trainer

Settings = TypeVar('Settings', bound=TrainSettings)


def run_training(stage: str, settings: Settings, prepare: Callable[[Settings], Task]) -> dict[str, Any]:
    """Train in settings.output, from the last checkpoint if there is one, and return the finished manifest.

    `accelerate launch` or torchrun start several processes of this; without them it is one. The output has
    `model.safetensors`, with validation also `best.safetensors` (of the least validation loss), `checkpoints/` and
    `tensorboard/`.

    Raises:
        RecipeError: the output is not a folder on this machine, or settings do not go together.
        TrainingError: as of Run and Trainer.train.
    """
    output = _local(settings.output)
    accelerator = make_accelerator(settings)
    # One process of a machine downloads, the others find it there.
    with accelerator.local_main_process_first():
        task = prepare(settings)
    with contextlib.ExitStack() as stack:
        run = None
        if accelerator.is_main_process:
            run = stack.enter_context(
                Run(stage, settings, task.fingerprints, settings.output, writes=f'{CHECKPOINTS}/{STEPS}')
            )
        if not _from_main(accelerator, run and run.finished):
            facts = Trainer(task, settings, accelerator, output, stage).train()
            if run is not None:
                model = WeightSource(task.network.architecture.name, trained=True, checkpoint=output / MODEL)
                run.finish(**facts, model=MODEL, sha256=model.sha256, licence=task.licence)
        return _from_main(accelerator, run and run.manifest)


def starting_network(settings: TrainSettings, **options: Any) -> DepthAnything:
    """The network that the settings start from; options and errors as of initial_network."""
    return initial_network(
        settings.architecture,
        settings.encoder,
        settings.checkpoint,
        seed=settings.seed,
        accept_license=settings.accept_license,
        **options,
    )


def make_accelerator(settings: TrainSettings) -> Accelerator:
    """Of the processes that `accelerate launch` or torchrun has started; otherwise of this one alone."""
    # It is one for the whole process, and keeps the device and the precision of a stage before this one.
    if AcceleratorState._shared_state:
        AcceleratorState._reset_state(reset_partial_state=PartialState().num_processes == 1)
    accelerator = Accelerator(mixed_precision=settings.mixed_precision, cpu=settings.device == 'cpu')
    set_seed(settings.seed)
    return accelerator


def _local(output: str) -> Path:
    if not output:
        raise RecipeError('name the output folder, output=FOLDER')
    folder = Folder(output)
    if not folder.local:
        raise RecipeError(
            f'{output}: a training writes its checkpoints and curves into a folder on this machine, or a mounted one; '
            'copy it to the object store afterwards'
        )
    return Path(folder.path)


def _from_main(accelerator: Accelerator, value: Any) -> Any:
    """The main process's value, in every process."""
    return broadcast_object_list([value])[0] if accelerator.num_processes > 1 else value
