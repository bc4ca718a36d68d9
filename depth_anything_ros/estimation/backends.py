"""What runs the network: torch on any of its devices, or OpenVINO on the CPU."""

from __future__ import annotations

import platform
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from depth_anything_ros.choices import BACKENDS, PRECISIONS

if TYPE_CHECKING:
    import openvino

_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
# A compiled OpenVINO network serves one input size; a robot rarely has more cameras' sizes than this.
_COMPILED_SIZES = 4
# What a compiled network may differ from torch fp32, as mean |difference| over mean |value|.
_MAX_DEVIATION = {'fp32': 1e-3, 'bf16': 2e-2}


class DeviceUnavailableError(RuntimeError):
    """The device asked for is not there."""


class PrecisionUnavailableError(ValueError):
    """The device or backend does not compute in this precision."""


class BackendUnavailableError(RuntimeError):
    """The backend asked for is not installed, does not serve this device, or computes something else."""


class Backend(Protocol):
    """Runs the network: float32 (B, 3, H, W) normalised in, float32 (B, H, W) out, both on `device`."""

    name: str
    device: torch.device
    precision: str

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run."""


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


def resolve_precision(precision: str, device: torch.device) -> str:
    """'auto' becomes fp16 on CUDA, bf16 on a CPU that computes it, else fp32; raises PrecisionUnavailableError."""
    if precision not in PRECISIONS:
        raise PrecisionUnavailableError(f"unknown precision '{precision}': one of {', '.join(PRECISIONS)}")
    if precision == 'auto':
        if device.type == 'cuda':
            return 'fp16'
        return 'bf16' if device.type == 'cpu' and cpu_computes_bf16() else 'fp32'
    if precision == 'fp16' and device.type == 'cpu':
        raise PrecisionUnavailableError("precision 'fp16' is for CUDA: a CPU takes 'fp32' or 'bf16'")
    return precision


def make_backend(name: str, network: nn.Module, device: torch.device, precision: str) -> Backend:
    """Make the backend; 'auto' is torch, which needs no compilation when the image size changes.

    Raises BackendUnavailableError with what to install.
    """
    if name not in BACKENDS:
        raise BackendUnavailableError(f"unknown backend '{name}': one of {', '.join(BACKENDS)}")
    return (OpenVinoBackend if name == 'openvino' else TorchBackend)(network, device, precision)


class TorchBackend:
    """Eager torch, in reduced precision through autocast."""

    name = 'torch'

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self._network = network.to(device).eval()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run."""
        dtype = _DTYPES.get(self.precision)
        reduced = torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext()
        with torch.inference_mode(), reduced:
            return self._network(batch).float()


@cache
def _openvino_core() -> openvino.Core:
    """One for the whole process, and for good.

    Each gives its thread a stack for signals and at its end puts back the one before. When the older of two has ended,
    that one is gone, and the next signal (Ctrl-C, the end of a child) kills the process (seen with OpenVINO 2026.4).
    """
    import openvino  # noqa: PLC0415 - optional

    return openvino.Core()


class OpenVinoBackend:
    """OpenVINO on the CPU, compiled once for each input size and checked against torch before it is used.

    A size at which it fails the check raises BackendUnavailableError.
    """

    name = 'openvino'

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        try:
            import openvino  # noqa: PLC0415 - optional
        except ImportError as error:
            raise BackendUnavailableError(
                "OpenVINO is not installed: pip install 'depth_anything_ros[openvino]'"
            ) from error
        if device.type != 'cpu':
            raise BackendUnavailableError(f"backend 'openvino' runs on the CPU, not on '{device}': take 'torch'")
        if platform.machine() not in ('x86_64', 'AMD64', 'aarch64', 'arm64'):
            raise BackendUnavailableError(f'OpenVINO does not serve {platform.machine()} processors')
        self.device, self.precision = device, precision
        self._openvino = openvino
        self._network = network.cpu().eval()
        self._compiled: OrderedDict[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]] = OrderedDict()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run; compiles first if the batch has a new shape (seconds)."""
        shape = tuple(batch.shape)
        if shape not in self._compiled:
            self._compiled[shape] = self._compile(batch)
            if len(self._compiled) > _COMPILED_SIZES:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(shape)
        return self._compiled[shape](batch)

    def _compile(self, batch: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        with torch.inference_mode():
            model = self._openvino.convert_model(torch.export.export(self._network, (batch,)))
            expected = self._network(batch)
        precision = {'fp32': 'f32', 'bf16': 'bf16'}[self.precision]
        compiled = _openvino_core().compile_model(
            model, 'CPU', {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': precision}
        )

        def run(batch: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(compiled(batch.contiguous().numpy())[0].copy())

        difference = (run(batch) - expected).abs().mean()
        deviation = (difference / expected.abs().mean().clamp_min(1e-6)).item()
        if not deviation <= _MAX_DEVIATION[self.precision]:
            raise BackendUnavailableError(
                f'OpenVINO differs from torch by {deviation:.1%} on this image, more than '
                f"{_MAX_DEVIATION[self.precision]:.1%} in {self.precision}: take backend 'torch'"
            )
        return run
