"""OpenVINO: CPUs, and Intel's GPUs and NPUs."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import torch

from depth_anything_ros.estimation import artefacts
from depth_anything_ros.estimation.artefacts import Artefacts
from depth_anything_ros.estimation.backends.interface import Run
from depth_anything_ros.estimation.devices import Target, choose_precisions, cpu_computes_bf16, usable_cores
from depth_anything_ros.estimation.errors import BackendUnavailableError, DeviceUnavailableError
from depth_anything_ros.estimation.export import openvino_core, pack_openvino, to_openvino, unpack_openvino
from depth_anything_ros.network import DepthAnything

if TYPE_CHECKING:
    import openvino

_MACHINES = ('x86_64', 'AMD64', 'aarch64', 'arm64')
# A model in int8 does the rest of its work in float32, which is a CPU's widest and a GPU's common choice.
_HINTS = {'fp32': 'f32', 'bf16': 'bf16', 'fp16': 'f16', 'int8': 'f32'}


class OpenVinoCompiler:
    """Compiles in a moment what is in the cache; the export that fills it takes seconds.

    In int8 it runs what `depth-anything export --precision int8` has left in the cache.
    """

    name = 'openvino'

    def __init__(self, network: DepthAnything, target: Target, precision: str) -> None:
        core = openvino_core()
        if target.tensors.type != 'cpu':
            raise BackendUnavailableError(
                f"backend 'openvino' runs on the CPU and on Intel's devices (openvino:GPU, openvino:NPU), not on "
                f"'{target}': take 'torch'"
            )
        if platform.machine() not in _MACHINES:
            raise BackendUnavailableError(f'OpenVINO does not serve {platform.machine()} processors')
        self._device = target.openvino or 'CPU'
        # 'GPU' is the first of GPU.0 and GPU.1.
        if not any(name == self._device or name.startswith(f'{self._device}.') for name in core.available_devices):
            raise DeviceUnavailableError(
                f"device '{target}' is not there: OpenVINO has {', '.join(core.available_devices)}; for Intel's GPUs "
                'and NPUs their driver has to be installed'
            )
        self.device, self.hardware = target.tensors, str(target)
        self.precisions = openvino_precisions(precision, self._device)
        # The layers of a small network are too short to be shared by all cores well, least when the cores have other
        # things to do: with one core an image two images take less time than one after the other with two.
        small = network.architecture.pyramid and self._device == 'CPU'
        self.parallel = usable_cores() if small else 1
        self._network = network.cpu().eval()
        self._artefacts = openvino_artefacts(network)

    def compile(self, batch: torch.Tensor, precision: str) -> Run:
        """See Compiler."""
        shape = self._compiled_shape(tuple(batch.shape))
        count = len(batch) // shape[0]
        hints = {'NUM_STREAMS': count} if count > 1 else {'PERFORMANCE_HINT': 'LATENCY'}
        hints['INFERENCE_PRECISION_HINT'] = _HINTS[precision]
        if self._device == 'CPU':
            # A thread bound to a core waits there for whatever else runs on it, and all others then wait for that one.
            hints['ENABLE_CPU_PINNING'] = False
        model = unpack_openvino(self._content(shape, precision))
        try:
            compiled = openvino_core().compile_model(model, self._device, hints)
        except RuntimeError as error:
            reason = str(error).strip().rsplit('\n', 1)[-1]
            raise BackendUnavailableError(
                f'OpenVINO cannot compile the network for {self._device}: {reason}'
            ) from error

        if count > 1:
            return _side_by_side([compiled.create_infer_request() for _ in range(count)])

        def run(batch: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(compiled(batch.contiguous().numpy())[0].copy())

        return run

    def _compiled_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What is compiled for batches of this shape: for as many as run side by side one image."""
        return (1, *shape[1:]) if 1 < shape[0] <= self.parallel else shape

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """See CachingCompiler."""
        return self._artefacts.path(self._compiled_shape(shape), _stored(self.precisions[0])).is_file()

    def prepare(self, shape: tuple[int, ...]) -> None:
        """See CachingCompiler."""
        self._content(self._compiled_shape(shape), self.precisions[0])

    def _content(self, shape: tuple[int, ...], precision: str) -> bytes:
        if precision != 'int8':
            make = lambda: pack_openvino(to_openvino(self._network, shape))  # noqa: E731
            return self._artefacts.read_or_make(shape, _stored(precision), make)
        content = artefacts.read(self._artefacts.path(shape, 'int8'))
        if content is None:
            height, width = shape[2:]
            raise BackendUnavailableError(
                f'no int8 network of {self._network.architecture.name} for one image of {height}x{width} is in the '
                f'cache {artefacts.cache_folder()}: make it from pictures of yours, depth-anything export '
                f'{self._network.source.name} OUT --format openvino --precision int8 --image-size {height}x{width} '
                '--images FOLDER, with the same --checkpoint if you name one'
            )
        return content


def _side_by_side(requests: list[openvino.InferRequest]) -> Run:
    """Runs each image of a batch by a request of its own, all at the same time."""

    def run(batch: torch.Tensor) -> torch.Tensor:
        images = [image.numpy() for image in batch.contiguous().split(1)]
        for request, image in zip(requests, images, strict=True):
            request.start_async([image], share_inputs=True)
        for request in requests:
            request.wait()
        return torch.cat([torch.from_numpy(request.get_output_tensor().data) for request in requests])

    return run


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
