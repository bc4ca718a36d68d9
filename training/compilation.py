"""torch.compile in a training: whether it can be had, and what to say where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator

from depth_anything_ros.estimation.devices import has_cpp_compiler
from training.errors import RecipeError


def check_compiler(accelerator: Accelerator) -> None:
    """Raise RecipeError where a network cannot be compiled."""
    if accelerator.device.type == 'cpu' and not has_cpp_compiler():
        raise RecipeError('compile needs a C++ compiler on a CPU: apt install g++, or set it to false')
    if accelerator.distributed_type.value == 'FSDP':
        raise RecipeError('compile is for whole networks: use DDP in place of FSDP, or set it to false')


@contextmanager
def compiler_errors(compiled: bool) -> Iterator[None]:
    """Around the steps, in the first of which the network is compiled: a RecipeError of what torch then raises."""
    if not compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415 - seconds, which others need not wait for

    try:
        yield
    except TorchDynamoException as error:
        reason = str(error).strip().split('\n', 1)[0]
        raise RecipeError(f'torch.compile fails ({type(error).__name__}: {reason}): set compile to false') from error
