"""From the name of a backend, or 'auto', to one that runs."""

from __future__ import annotations

import logging

from depth_anything_ros.choices import BACKENDS
from depth_anything_ros.estimation.backends.compiled import AutoBackend, CompiledBackend
from depth_anything_ros.estimation.backends.interface import Backend, CachingCompiler, Compiler
from depth_anything_ros.estimation.backends.onnx_compiler import OnnxRuntimeCompiler
from depth_anything_ros.estimation.backends.openvino_compiler import OpenVinoCompiler
from depth_anything_ros.estimation.backends.torch_backends import (
    EagerBackend,
    GraphBackend,
    InductorCompiler,
    torch_precisions,
)
from depth_anything_ros.estimation.devices import Target, check_precision
from depth_anything_ros.estimation.errors import (
    BackendUnavailableError,
    DeviceUnavailableError,
    PrecisionUnavailableError,
)
from depth_anything_ros.network import DepthAnything

_log = logging.getLogger(__name__)

_ASKED_FOR = 'asked for'
_CACHING = {'openvino': OpenVinoCompiler, 'onnxruntime': OnnxRuntimeCompiler}


def make_backend(name: str, network: DepthAnything, target: Target, precision: str, *, live: bool = False) -> Backend:
    """Make a backend and say in the log which and why.

    'auto' on a CPU: OpenVINO if it is installed, else ONNX Runtime if it is and the work is in fp32 (torch has bf16,
    which is faster than ONNX Runtime's fp32), else torch; on CUDA: torch with captured graphs. int8 and Intel's devices
    are OpenVINO's. live: with 'auto' no frame waits for a compilation.

    Raises BackendUnavailableError with what to install, DeviceUnavailableError and PrecisionUnavailableError.
    """
    if name not in BACKENDS:
        raise BackendUnavailableError(f"unknown backend '{name}': one of {', '.join(BACKENDS)}")
    check_precision(precision)
    if target.openvino and name not in ('auto', 'openvino'):
        raise BackendUnavailableError(f"device '{target}' is one of OpenVINO's: take backend 'openvino', not '{name}'")
    if name == 'auto':
        backend = _automatic(network, target, precision, live)
    elif name == 'torch':
        kind = GraphBackend if target.tensors.type == 'cuda' else EagerBackend
        backend = kind(network, target, precision, _ASKED_FOR)
    else:
        backend = CompiledBackend(network, make_compiler(name, network, target, precision), _ASKED_FOR)
    _log.info('backend %s (%s)', backend.name, backend.reason)
    return backend


def make_compiler(name: str, network: DepthAnything, target: Target, precision: str) -> Compiler:
    """The compiler of a backend that compiles; raises as make_backend."""
    if name == 'torch-compile':
        return InductorCompiler(network, target, precision)
    return make_caching_compiler(name, network, target, precision)


def make_caching_compiler(name: str, network: DepthAnything, target: Target, precision: str) -> CachingCompiler:
    """The same for 'openvino' and 'onnxruntime'."""
    return _CACHING[name](network, target, precision)


def _automatic(network: DepthAnything, target: Target, precision: str, live: bool) -> Backend:
    if precision == 'int8':
        return CompiledBackend(network, make_compiler('openvino', network, target, precision), 'only OpenVINO has int8')
    if target.tensors.type == 'cuda':
        return GraphBackend(network, target, precision, 'auto: on CUDA torch with captured graphs')
    # Of Intel's devices torch knows nothing, nor of their precisions: it stands in on the CPU.
    own = 'auto' if target.openvino else precision
    if target.tensors.type != 'cpu':
        return EagerBackend(network, target, own, f'auto: on {target} only torch runs')
    candidates = [('openvino', 'auto: OpenVINO is installed, the fastest on a CPU')]
    if target.openvino:
        candidates = [('openvino', f'auto: only OpenVINO runs on {target}')]
    elif torch_precisions(own, target.tensors)[0] == 'fp32':
        candidates.append(
            ('onnxruntime', 'auto: ONNX Runtime is installed, in fp32 faster than torch; OpenVINO is not')
        )
    problems = []
    for name, reason in candidates:
        try:
            compiler = make_caching_compiler(name, network, target, precision)
        except (BackendUnavailableError, DeviceUnavailableError, PrecisionUnavailableError) as error:
            # That there is no such device of Intel's is for whoever asked for it.
            if target.openvino and isinstance(error, DeviceUnavailableError):
                raise
            problems.append(str(error))
            continue
        eager = EagerBackend(network, Target(target.tensors), own, reason)
        return AutoBackend(network, eager, compiler, reason, live=live)
    if target.openvino:
        raise BackendUnavailableError('; '.join(problems))
    return EagerBackend(network, target, own, f'auto: {"; ".join(problems)}')
