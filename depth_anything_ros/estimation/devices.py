"""Where a network runs, and in which precisions."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from depth_anything_ros.choices import PRECISIONS
from depth_anything_ros.estimation.errors import DeviceUnavailableError, PrecisionUnavailableError

_log = logging.getLogger(__name__)

Result = TypeVar('Result')

_OPENVINO = 'openvino:'
# What torch raises of a device: from its library, where it is built without it, and while it starts it.
_FAULTS = (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError)


@dataclass(frozen=True)
class Target:
    """A device as users name it.

    tensors: where input and output of the network are. openvino: OpenVINO's name of what computes, such as GPU or
    NPU; empty: the device of the tensors does.
    """

    tensors: torch.device
    openvino: str = ''

    def __str__(self) -> str:
        return f'{_OPENVINO}{self.openvino}' if self.openvino else str(self.tensors)


def resolve_target(device: str) -> Target:
    """What resolve_device takes, or 'openvino:' and OpenVINO's name of a device; raises DeviceUnavailableError.

    Whether OpenVINO has that device is for its backend to say.
    """
    if device.lower().startswith(_OPENVINO):
        name = device[len(_OPENVINO) :].upper()
        if not name:
            raise DeviceUnavailableError(
                f"device '{device}' names none of OpenVINO's: {_OPENVINO}GPU or {_OPENVINO}NPU"
            )
        return Target(torch.device('cpu'), name)
    return Target(resolve_device(device))


def resolve_device(device: str) -> torch.device:
    """'auto', or anything torch.device understands, if it computes; raises DeviceUnavailableError.

    'auto' is CUDA, and the CPU where that is not there or, with a warning, does not compute.
    """
    if device == 'auto' and not torch.cuda.is_available():
        return torch.device('cpu')
    try:
        return _computing('cuda' if device == 'auto' else device)
    except _FAULTS as error:
        reason = str(error).split('\n', 1)[0]
        if device == 'auto':
            _log.warning('CUDA is there and does not compute (%s): the CPU does, which is slower', reason)
            return torch.device('cpu')
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise DeviceUnavailableError(
            f"device '{device}' cannot be used ({reason}). Here: cpu and {count} CUDA device(s); 'auto' takes the best "
            'there is'
        ) from error


def _computing(device: str) -> torch.device:
    """The device, after a first computation: torch may find a GPU that it has no code for."""
    resolved = torch.device(device)
    (torch.ones(1, device=resolved) + 1.0).item()
    return resolved


def with_room(work: Callable[[], Result], give_back: Callable[[], None], device: torch.device) -> Result:
    """What work gives; where the device's memory is full, it is done once more after give_back.

    Raises torch.cuda.OutOfMemoryError if there is too little still.
    """
    with suppress(torch.cuda.OutOfMemoryError):
        return work()
    # Not in a handler: the error holds the tensors of the call as long as it lives.
    _log.info('%s has too little memory: what only saves time gives back its own', device)
    give_back()
    release_memory(device)
    return work()


def release_memory(device: torch.device) -> None:
    """Give back what torch keeps of a GPU's memory beside what is in use."""
    if device.type == 'cuda':
        # After a capture that failed its allocator refuses.
        with suppress(RuntimeError):
            torch.cuda.empty_cache()


def cpu_computes_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices itself (AMX, AVX512-BF16, Arm BF16); emulation is slower."""
    return bool(_cpu_flags() & {'amx_bf16', 'avx512_bf16', 'bf16'})


def cpu_adds_int8_widely() -> bool:
    """Whether the processor adds products of int8 in 32 bits at once (VNNI, AMX, Arm); AVX2's 16 bits overflow."""
    return bool(_cpu_flags() & {'amx_int8', 'avx512_vnni', 'avx_vnni', 'asimddp'})


def _cpu_flags() -> set[str]:
    try:
        return set(Path('/proc/cpuinfo').read_text(encoding='ascii', errors='replace').split())
    except OSError:  # not Linux: nothing to gain from guessing
        return set()


def usable_cores() -> int:
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def has_cpp_compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on a CPU."""
    return any(map(shutil.which, ('g++', 'clang++', 'c++')))


def check_precision(precision: str) -> None:
    """Raise PrecisionUnavailableError for a name that is none."""
    if precision not in PRECISIONS:
        raise PrecisionUnavailableError(f"unknown precision '{precision}': one of {', '.join(PRECISIONS)}")


def choose_precisions(
    precision: str, who: str, preferred: Sequence[str], others: Sequence[str] = ()
) -> tuple[str, ...]:
    """The precisions to try, in this order: all of the preferred for 'auto', and otherwise the one that is named.

    Raises PrecisionUnavailableError if `who` computes in neither the preferred nor the others.
    """
    check_precision(precision)
    if precision == 'auto':
        return tuple(preferred)
    known = (*preferred, *others)
    if precision not in known:
        raise PrecisionUnavailableError(f"precision '{precision}' is not for {who}, which takes {' or '.join(known)}")
    return (precision,)
