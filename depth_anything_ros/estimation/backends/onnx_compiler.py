"""ONNX Runtime, on whichever of its execution providers serves the device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from depth_anything_ros.estimation.artefacts import Artefacts, cache_folder
from depth_anything_ros.estimation.backends.interface import Run
from depth_anything_ros.estimation.devices import Target, choose_precisions
from depth_anything_ros.estimation.errors import BackendUnavailableError
from depth_anything_ros.estimation.export import INPUT_NAME, OPSET, require_onnx, to_onnx
from depth_anything_ros.network import DepthAnything

if TYPE_CHECKING:
    import onnxruntime

_log = logging.getLogger(__name__)

PROVIDERS = {
    'cuda': ('TensorrtExecutionProvider', 'CUDAExecutionProvider'),
    'cpu': ('OpenVINOExecutionProvider', 'CPUExecutionProvider'),
}
"""By device, in the order in which they are tried."""


class OnnxRuntimeCompiler:
    """ONNX Runtime. The first of PROVIDERS that is installed and takes the network runs it."""

    name = 'onnxruntime'
    parallel = 1

    def __init__(self, network: DepthAnything, target: Target, precision: str) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - optional
        except ImportError as error:
            raise BackendUnavailableError(
                'ONNX Runtime is not installed: pip install onnx onnxscript onnxruntime (with CUDA: onnxruntime-gpu '
                'in place of onnxruntime)'
            ) from error
        require_onnx()
        kind = target.tensors.type
        if target.openvino or kind not in PROVIDERS:
            raise BackendUnavailableError(
                f"backend 'onnxruntime' runs on cpu and cuda, not on '{target}': take 'torch'"
            )
        available = onnxruntime.get_available_providers()
        self._providers = [name for name in PROVIDERS[kind] if name in available]
        if not self._providers:
            raise BackendUnavailableError(
                f'this ONNX Runtime has {", ".join(available)}, expected one of {", ".join(PROVIDERS[kind])} for '
                f"'{target}': pip install onnxruntime-gpu"
            )
        preferred = ('fp16', 'fp32') if kind == 'cuda' else ('fp32',)
        self.precisions = choose_precisions(precision, f'ONNX Runtime on {kind}', preferred)
        self.device, self.hardware = target.tensors, str(target)
        self._onnxruntime, self._network = onnxruntime, network.eval()
        versions = {'onnxruntime': onnxruntime.__version__, 'opset': str(OPSET)}
        self._artefacts = Artefacts(network, 'onnx', versions)

    def compile(self, batch: torch.Tensor, precision: str) -> Run:
        """See Compiler."""
        session = self._open(tuple(batch.shape), precision)
        (output,) = session.get_outputs()

        def run(batch: torch.Tensor) -> torch.Tensor:
            # Bound to torch's own memory: on a GPU nothing leaves it.
            batch = batch.contiguous()
            result = torch.empty(batch.shape[0], *batch.shape[2:], device=batch.device)
            binding = session.io_binding()
            for bind, name, tensor in (
                (binding.bind_input, INPUT_NAME, batch),
                (binding.bind_output, output.name, result),
            ):
                place = tensor.device.type, tensor.device.index or 0
                bind(name, *place, np.float32, tuple(tensor.shape), tensor.data_ptr())
            if batch.device.type == 'cuda':
                torch.cuda.current_stream(batch.device).synchronize()
            try:
                session.run_with_iobinding(binding)
                binding.synchronize_outputs()
            except Exception as error:  # its errors have no common base but this
                reason = str(error).strip().split('\n', 1)[0]
                raise BackendUnavailableError(f'ONNX Runtime fails to run the network: {reason}') from error
            return result

        return run

    def is_prepared(self, shape: tuple[int, ...]) -> bool:
        """See CachingCompiler."""
        return self._artefacts.has(shape, self.precisions[0])

    def prepare(self, shape: tuple[int, ...]) -> None:
        """See CachingCompiler."""
        self._content(shape, self.precisions[0])

    def _content(self, shape: tuple[int, ...], precision: str) -> bytes:
        def make() -> bytes:
            # Here the network may be on a GPU; what is written into a file is made on the CPU.
            device = next(self._network.parameters()).device
            try:
                return to_onnx(self._network.cpu(), shape, precision)
            finally:
                self._network.to(device)

        return self._artefacts.read_or_make(shape, precision, make)

    def _open(self, shape: tuple[int, ...], precision: str) -> onnxruntime.InferenceSession:
        content = self._content(shape, precision)
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: that a provider is missing a library we say ourselves
        # torch's answer to OMP_NUM_THREADS and to the cores that this process may use.
        options.intra_op_num_threads = torch.get_num_threads()
        failures = []
        for provider in self._providers:
            try:
                chosen = [(provider, self._options(provider, shape, precision))]
                session = self._onnxruntime.InferenceSession(content, options, chosen)
            except Exception as error:  # its errors have no common base but this
                failures.append(f'{provider}: {str(error).strip().splitlines()[0]}')
                continue
            # A provider whose libraries are missing is left out without an error.
            if session.get_providers()[0] == provider:
                _log.info('ONNX Runtime runs the network by %s', provider)
                return session
            failures.append(f'{provider}: its libraries cannot be loaded')
        raise BackendUnavailableError(f'ONNX Runtime cannot run the network: {"; ".join(failures)}')

    def _options(self, provider: str, shape: tuple[int, ...], precision: str) -> dict[str, str]:
        index = str(self.device.index or 0)
        if provider == 'CUDAExecutionProvider':
            return {'device_id': index}
        if provider == 'TensorrtExecutionProvider':
            # To build an engine takes minutes. Its file's name says nothing of weights and size: a folder for each.
            folder = cache_folder() / 'tensorrt' / self._artefacts.path(shape, precision).stem
            return {
                'device_id': index,
                'trt_fp16_enable': str(precision == 'fp16'),
                'trt_engine_cache_enable': str(_is_made(folder)),
                'trt_engine_cache_path': str(folder),
            }
        return {}


def _is_made(folder: Path) -> bool:
    """Make a folder; whether it is there, and if not, why, in the log."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning('%s cannot be made (%s): an engine is built at every start', folder, error.strerror or error)
        return False
    return True
