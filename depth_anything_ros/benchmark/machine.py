"""The machine that is measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch


def machine(devices: Iterable[str] = ()) -> dict[str, Any]:
    """What the figures depend on beside the options.

    devices: what was measured on, as torch names it; where no GPU is among them, the one that torch takes is named.
    """
    return {
        'cpu': _cpu_model(),
        'cores': os.cpu_count(),
        'cpu_flags': _cpu_flags(),
        'torch_threads': torch.get_num_threads(),
        'gpu': _gpus(devices) if torch.cuda.is_available() else None,
        'platform': platform.platform(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }


def machine_line(about: dict[str, Any]) -> str:
    """What machine() says, in a sentence."""
    flags = f' with {", ".join(about["cpu_flags"])}' if about['cpu_flags'] else ''
    gpu = about['gpu'] or 'no GPU'
    return f'{about["cpu"]}{flags}, {about["cores"]} cores, {gpu}, torch {about["torch"]}.'


def _gpus(devices: Iterable[str]) -> str:
    used = [device for device in devices if device.startswith('cuda')]
    return ', '.join(dict.fromkeys(map(torch.cuda.get_device_name, used or ['cuda'])))


def _cpu_model() -> str:
    for line in _cpuinfo():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    """Those that decide how fast a network runs."""
    words = {word for line in _cpuinfo() if line.startswith(('flags', 'Features')) for word in line.split()}
    wanted = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimddp', 'bf16', 'i8mm')
    return [flag for flag in wanted if flag in words]


def _cpuinfo() -> list[str]:
    path = Path('/proc/cpuinfo')
    return path.read_text(encoding='ascii', errors='replace').splitlines() if path.exists() else []
