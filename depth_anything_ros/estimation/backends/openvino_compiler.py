"""OpenVINO: CPUs, and Intel's GPUs and NPUs."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import artefacts
from depth_anything_ros.estimation.artefacts import Artefacts
from depth_anything_ros.estimation.backends.interface import Run
from depth_anything_ros.estimation.devices import Target, choose_precisions, cpu_computes_bf16, usable_cores
from depth_anything_ros.estimation.errors import BackendUnavailableError, DeviceUnavailableError
from depth_anything_ros.estimation.export import (
    openvino_core,
    openvino_reason,
    pack_openvino,
    to_openvino,
    unpack_openvino,
)
from depth_anything_ros.network import DepthAnything

if TYPE_CHECKING:
    import openvino

_MACHINES = ('x86_64', 'AMD64', 'aarch64', 'arm64')
# A model in int8 does the rest of its work in float32, which is a CPU's widest and a GPU's common choice; an NPU's is
# float16.
_HINTS = {'fp32': 'f32', 'bf16': 'bf16', 'fp16': 'f16', 'int8': 'f32'}

# So many calls that met no other, and the next ones are taken to come alone.
_FORGOTTEN_MEETING = 10


class OpenVinoCompiler:
    """Compiles in a moment what is in the cache; the export that fills it takes seconds.

    In int8 it runs what `depth-anything export --precision int8` has left in the cache.
    """

    name = 'openvino'

    def __init__(self, network: DepthAnything, target: Target, precision: str) -> None:
        core = openvino_core()
        if target.tensors.type != 'cpu':
            raise BackendUnavailableError(
                f"backend 'openvino' runs on the CPU and on Intel's devices, not on '{target}': take device cpu, "
                "openvino:GPU or openvino:NPU, or, but for int8, backend 'torch'"
            )
        if platform.machine() not in _MACHINES:
            raise BackendUnavailableError(f'OpenVINO does not serve {platform.machine()} processors')
        self._device = target.openvino or 'CPU'
        # 'GPU' is the first of GPU.0 and GPU.1.
        if not any(name == self._device or name.startswith(f'{self._device}.') for name in core.available_devices):
            if self._device == 'CPU':
                raise DeviceUnavailableError('this OpenVINO has no plugin for the CPU: pip install openvino')
            raise DeviceUnavailableError(
                f"device '{target}' is not there: OpenVINO has {', '.join(core.available_devices)}; for Intel's GPUs "
                'and NPUs their driver has to be installed'
            )
        self.device, self.hardware = target.tensors, str(target)
        self.precisions = openvino_precisions(precision, self._device)
        # The layers of a small network are too short to be shared by all cores well, least when the cores have other
        # things to do: two images, each on a core, take less time than one after the other on both. One thread more,
        # for there is always one that waits for the interpreter.
        small = network.architecture.pyramid and self._device == 'CPU'
        self._streams = usable_cores() if small else 1
        self.parallel = self._streams + 1 if small else 1
        self._network = network.cpu().eval()
        self._artefacts = openvino_artefacts(network)

    def compile(self, batch: torch.Tensor, precision: str) -> Run:
        """See Compiler."""
        shape = tuple(batch.shape)
        content = self._content(shape, precision)
        alone = self._compiled(content, precision, {'PERFORMANCE_HINT': 'LATENCY'})
        if self.parallel == 1:
            return _OnCores(alone, lambda: alone, 1)
        # What is not in the cache is kept, lest it be made again while cameras wait.
        kept = None if self._artefacts.has(shape, _stored(precision)) else content

        def beside() -> openvino.CompiledModel:
            again = kept or self._content(shape, precision)
            return self._compiled(again, precision, {'NUM_STREAMS': self._streams})

        return _OnCores(alone, beside, self.parallel)

    def _compiled(self, content: bytes, precision: str, hints: dict[str, Any]) -> openvino.CompiledModel:
        npu = self._device.startswith('NPU')
        hints = {**hints, 'INFERENCE_PRECISION_HINT': 'f16' if npu else _HINTS[precision]}
        if self._device == 'CPU':
            # A thread bound to a core waits there for whatever else runs on it, and all others then wait for that one.
            hints['ENABLE_CPU_PINNING'] = False
        try:
            model = unpack_openvino(content)
            return openvino_core().compile_model(model, self._device, hints)
        except RuntimeError as error:
            raise BackendUnavailableError(
                f'OpenVINO cannot compile the network for {self._device}: {openvino_reason(error)}'
            ) from error

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """See CachingCompiler."""
        return self._artefacts.has(shape, _stored(self.precisions[0]))

    def prepare(self, shape: tuple[int, ...]) -> None:
        """See CachingCompiler."""
        self._content(shape, self.precisions[0])

    def _content(self, shape: tuple[int, ...], precision: str) -> bytes:
        if precision != 'int8':
            make = lambda: pack_openvino(to_openvino(self._network, shape))  # noqa: E731
            return self._artefacts.read_or_make(shape, _stored(precision), make)
        content = artefacts.read(self._artefacts.path(shape, 'int8'))
        if content is None:
            height, width = shape[2:]
            source = self._network.source
            # As the command finds it: not every network is in the catalogue.
            model = source.name if source.name in checkpoints.model_names() else source.checkpoint or source.name
            raise BackendUnavailableError(
                f'no int8 network of {self._network.architecture.name} for one image of {height}x{width} is in the '
                f'cache {artefacts.cache_folder()}: make it from pictures of yours, depth-anything export '
                f'{shlex.quote(str(model))} OUT.xml --format openvino --precision int8 --image-size {height}x{width} '
                f'--input-size {min(height, width)} --images FOLDER, with the same --checkpoint if you name one'
            )
        return content


class _OnCores:
    """Runs what comes alone on all cores, and on a core each while calls meet each other; for any thread."""

    def __init__(self, alone: openvino.CompiledModel, beside: Callable[[], openvino.CompiledModel], count: int) -> None:
        """beside: makes what runs several at once, when it is needed. count: how many threads call, as a rule."""
        self._alone = alone.create_infer_request()
        self._beside, self._count = beside, count
        self._requests: SimpleQueue[openvino.InferRequest] | None = None
        # Threads that have more to do than this do not meet each time.
        self._running, self._calls_since_meeting, self._lock = 0, _FORGOTTEN_MEETING, Lock()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run."""
        with self._lock:
            self._calls_since_meeting = 0 if self._running else self._calls_since_meeting + 1
            is_alone = self._calls_since_meeting > _FORGOTTEN_MEETING
            if not is_alone and self._requests is None:
                self._requests = self._made()
            self._running += 1
        request = self._alone if is_alone else self._requests.get()
        try:
            return _infer(request, batch)
        finally:
            if not is_alone:
                self._requests.put(request)
            with self._lock:
                self._running -= 1

    def _made(self) -> SimpleQueue[openvino.InferRequest]:
        compiled, requests = self._beside(), SimpleQueue()
        self._beside = None  # and with it what it may keep
        for _ in range(self._count):
            requests.put(compiled.create_infer_request())
        return requests


def _infer(request: openvino.InferRequest, batch: torch.Tensor) -> torch.Tensor:
    try:
        request.infer([batch.contiguous().numpy()], share_inputs=True)
    except RuntimeError as error:
        raise BackendUnavailableError(f'OpenVINO fails to run the network: {openvino_reason(error)}') from error
    return torch.from_numpy(request.get_output_tensor().data.copy())


def openvino_precisions(precision: str, device: str) -> tuple[str, ...]:
    """On the CPU 'auto' is bf16 where it computes that, then fp32; a GPU fp16, then fp32; an NPU fp16.

    Raises PrecisionUnavailableError.
    """
    if device == 'CPU':
        preferred = ('bf16', 'fp32') if cpu_computes_bf16() else ('fp32',)
        return choose_precisions(precision, 'OpenVINO on a CPU', preferred, ('fp32', 'bf16', 'int8'))
    preferred = ('fp16',) if device.startswith('NPU') else ('fp16', 'fp32')
    return choose_precisions(precision, f'OpenVINO on {device}', preferred, ('int8',))


def openvino_artefacts(network: DepthAnything) -> Artefacts:
    """The cache's entries of a network for OpenVINO; raises BackendUnavailableError."""
    openvino_core()
    import openvino  # noqa: PLC0415 - optional

    return Artefacts(network, 'openvino', {'openvino': openvino.__version__})


def _stored(precision: str) -> str:
    """What the entry has: reduced floats are made of float32 when it is compiled."""
    return precision if precision == 'int8' else 'fp32'
