"""Torch as it is, compiled by torch.compile, and captured as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from threading import Event

import torch
from torch import nn

from depth_anything_ros.estimation.backends.interface import LIMITS, Run, deviation, first_accurate
from depth_anything_ros.estimation.devices import (
    Target,
    choose_precisions,
    cpu_computes_bf16,
    has_cpp_compiler,
)
from depth_anything_ros.estimation.errors import BackendUnavailableError, PrecisionUnavailableError
from depth_anything_ros.lru import LRUDict
from depth_anything_ros.network import DepthAnything, reduced

_log = logging.getLogger(__name__)

_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
# Before a capture: libraries choose their kernels and take their memory in the first runs.
_WARM_UP_RUNS = 3
# Pictures of many sizes would pay for each capture and see no second frame.
RUNS_BEFORE_CAPTURE = 3
_GRAPHS = 4
# Torch's allocator goes on waiting for the end of a capture that failed, and others fail of that.
_capture_failed = Event()


def torch_precisions(precision: str, device: torch.device) -> tuple[str, ...]:
    """'auto' is fp16 and then fp32 on CUDA, bf16 and then fp32 on a CPU that computes it, else fp32.

    Raises PrecisionUnavailableError.
    """
    if precision == 'int8':
        raise PrecisionUnavailableError(
            "precision 'int8' is for backend 'openvino' on device cpu, openvino:GPU or openvino:NPU: torch takes fp32, "
            'bf16 or fp16'
        )
    if device.type == 'cuda':
        return choose_precisions(precision, 'CUDA', ('fp16', 'fp32'), ('bf16',))
    if device.type != 'cpu':
        return choose_precisions(precision, device.type, ('fp32',), ('bf16', 'fp16'))
    if precision == 'fp16':
        raise PrecisionUnavailableError("precision 'fp16' is for CUDA: a CPU takes 'fp32' or 'bf16'")
    preferred = ('bf16', 'fp32') if cpu_computes_bf16() else ('fp32',)
    return choose_precisions(precision, 'a CPU', preferred, ('fp32', 'bf16'))


class InPrecision(nn.Module):
    """The network in reduced precision, through autocast; float32 at both ends."""

    def __init__(self, network: DepthAnything, device: torch.device, precision: str) -> None:
        super().__init__()
        self._device_type, self._dtype = device.type, _DTYPES.get(precision)
        self.network = reduced(network, self._dtype) if self._dtype else network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Run."""
        with torch.autocast(self._device_type, dtype=self._dtype) if self._dtype else nullcontext():
            return self.network(batch).float()


def forward(network: DepthAnything, device: torch.device, precision: str) -> Run:
    """The network in a precision, as a function."""
    return _inference(InPrecision(network, device, precision))


def _inference(module: Run) -> Run:
    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return module(batch)

    return run


class EagerBackend:
    """Torch, operation by operation: in fp32 what the others, and it in other precisions, are measured against.

    Those are held against it on the first image alone: pictures of many sizes would take twice the time.
    """

    name = 'torch'
    parallel = 1

    def __init__(self, network: DepthAnything, target: Target, precision: str, reason: str) -> None:
        self.device, self.hardware, self.reason = target.tensors, str(target.tensors), reason
        self._precisions = torch_precisions(precision, target.tensors)
        self.precision = self._precisions[0]
        network = network.to(target.tensors).eval()
        self._make = partial(forward, network, self.device)
        self._run = self._make('fp32') if self.precision == 'fp32' else None

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run."""
        if self._run is None:
            expected = self._make('fp32')(batch)
            if not torch.isfinite(expected).all():
                if self._run is None:  # on a CPU another thread may have come further with another image
                    self.precision = 'fp32'
                return expected  # nothing to be held against; the estimator says what this means
            self.precision, self._run = first_accurate(self.name, self._precisions, self._make, batch, expected)
            if self.device.type == 'cuda':
                del self._make  # and with it the weights in fp32; on a CPU another thread may have come as far as this
        return self._run(batch)

    def release(self) -> None:
        """Nothing: it has the network alone."""

    def close(self) -> None:
        """Nothing works for it."""


class GraphBackend(EagerBackend):
    """Torch on CUDA: an image size that comes again and again is captured as a graph, up to a few of them.

    Replayed, a graph costs the processor one call. Its kernels are those of the eager run, so that results do not
    depend on when it was captured.
    """

    def __init__(self, network: DepthAnything, target: Target, precision: str, reason: str) -> None:
        super().__init__(network, target, precision, reason)
        self._graphs: LRUDict[tuple[int, ...], Run] = LRUDict(_GRAPHS)
        self._last, self._repeats = (), 0

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run; a capture, tens of milliseconds, happens after the third batch of a shape in a row."""
        shape = tuple(batch.shape)
        if shape in self._graphs:
            return self._graphs[shape](batch)
        result = super().__call__(batch)
        self._last, self._repeats = shape, self._repeats + 1 if shape == self._last else 1
        # Later than the third where what came first was not finite, and so could be held against nothing.
        if self._repeats >= RUNS_BEFORE_CAPTURE and self._run is not None:
            self._graphs[shape] = captured(self._run, batch, limit=LIMITS[self.precision])
        return result

    def release(self) -> None:
        """Give the graphs' memory back; what comes again and again is captured again."""
        self._graphs.clear()
        self._last, self._repeats = (), 0


class InductorCompiler:
    """torch.compile, and on CUDA a graph of what it makes."""

    name = 'torch-compile'
    parallel = 1

    def __init__(self, network: DepthAnything, target: Target, precision: str) -> None:
        if target.tensors.type == 'cpu' and not has_cpp_compiler():
            raise BackendUnavailableError(
                "backend 'torch-compile' needs a C++ compiler on a CPU: apt install g++, or take backend 'torch'"
            )
        self.device, self.hardware = target.tensors, str(target.tensors)
        self.precisions = torch_precisions(precision, target.tensors)
        network = network.to(target.tensors).eval()
        # One for all sizes: each in a reduced precision has weights of its own.
        self._module = cache(partial(InPrecision, network, self.device))

    def compile(self, batch: torch.Tensor, precision: str) -> Run:
        """See Compiler."""
        run = self._compiled(batch, precision)
        return captured(run, batch, limit=LIMITS[precision]) if self.device.type == 'cuda' else run

    def _compiled(self, batch: torch.Tensor, precision: str) -> Run:
        # An exported program is code of its own. Compiled forms of the same code are limited in number, and a robot
        # whose images change their size would come to the end of them.
        try:
            with torch.inference_mode():
                program = torch.export.export(self._module(precision), (batch,))
            run = _inference(torch.compile(program.module(), dynamic=False, fullgraph=True))
            run(batch)  # which is when it compiles
        except torch.cuda.OutOfMemoryError:
            raise  # there are remedies, of which whoever called knows
        except Exception as error:  # of torch's own and of the C++ compiler's, without a common base
            reason = str(error).strip().split('\n', 1)[0]
            raise BackendUnavailableError(
                f"torch.compile fails ({type(error).__name__}: {reason}): take backend 'torch'"
            ) from error
        return run


def captured(run: Callable[..., torch.Tensor], *inputs: torch.Tensor, limit: float) -> Callable[..., torch.Tensor]:
    """A graph of the run for inputs of these shapes.

    The run itself, with a warning in the log, where there can be none, or it deviates by more than the limit, as of
    `deviation`; 0: by a bit. After one that could not be captured no other is tried in this process.
    """
    if _capture_failed.is_set():
        return run
    try:
        graph = CapturedGraph(run, *inputs)
        problem = _difference(graph(*inputs), run(*inputs), limit)
    except RuntimeError as error:
        problem = str(error).split('\n', 1)[0]
        if _capture_failed.is_set():
            problem = f'{problem}; nor for anything else from now on'
    if problem:
        _log.warning('no CUDA graph for %s, which is slower: %s', tuple(inputs[0].shape), problem)
        return run
    return graph


def _difference(found: torch.Tensor, expected: torch.Tensor, limit: float) -> str:
    """In words, '' if it is within the limit."""
    if limit == 0.0:
        # What has to be equal may be all that is published of a frame: no copies of it as floats.
        return '' if torch.equal(found, expected) else 'it differs from what it repeats'
    share = deviation(found, expected)
    return '' if share <= limit else f'it differs by {share:.2%} from what it repeats'


class CapturedGraph:
    """Work on a GPU for inputs of one shape each, recorded once. Not safe across threads."""

    def __init__(self, run: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> None:
        """Record; raises RuntimeError if something in it cannot be, or the memory is short."""
        # What a compiled run has of its own beside the weights, the graph reads.
        self._run = run
        self._inputs = [item.clone() for item in inputs]
        with torch.cuda.device(inputs[0].device):
            present, side = torch.cuda.current_stream(), torch.cuda.Stream()
            side.wait_stream(present)
            self._graph = torch.cuda.CUDAGraph()
            # Around the capture too: after one that fails, torch's own context does not put the stream back.
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_RUNS):
                    run(*self._inputs)
                present.wait_stream(side)
                # Torch's own stream is one for the whole process, on the device that was the first to capture. Other
                # threads may use the GPU for other things meanwhile.
                try:
                    with torch.cuda.graph(self._graph, stream=side, capture_error_mode='thread_local'):
                        self._output = run(*self._inputs)
                except RuntimeError:
                    _capture_failed.set()
                    raise
            with torch.inference_mode():
                # What no run says, so that a graph of nothing is not taken for one of the run.
                self._output.fill_(torch.nan if self._output.is_floating_point() else 255)

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Replay; the result is a copy, since the next replay writes into the same memory."""
        with torch.inference_mode():
            for own, item in zip(self._inputs, inputs, strict=True):
                own.copy_(item)
            self._graph.replay()
            return self._output.clone()
