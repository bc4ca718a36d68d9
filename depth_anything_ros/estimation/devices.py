"""Where a network runs, and in which precisions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from depth_anything_ros.choices import PRECISIONS
from depth_anything_ros.estimation.errors import DeviceUnavailableError, PrecisionUnavailableError

_OPENVINO = 'openvino:'


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
    """'auto', or anything torch.device understands; raises DeviceUnavailableError."""
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise DeviceUnavailableError(
            f"device '{device}' cannot be used ({str(error).splitlines()[0]}). Here: cpu and {count} CUDA device(s); "
            "'auto' takes the best there is"
        ) from error
    return resolved


def cpu_computes_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices itself (AMX, AVX512-BF16, Arm BF16); emulation is slower."""
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='ascii', errors='replace')
    except OSError:  # not Linux: nothing to gain from guessing
        return False
    flags = set(text.split())
    return bool(flags & {'amx_bf16', 'avx512_bf16', 'bf16'})


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
