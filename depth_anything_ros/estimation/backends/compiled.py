"""Backends that compile: for each input size once, never without a look at what torch says, and if asked, elsewhere."""

from __future__ import annotations

import logging
from functools import partial
from threading import Lock

import torch

from depth_anything_ros.estimation.backends.interface import Backend, CachingCompiler, Compiler, Run, first_accurate
from depth_anything_ros.estimation.backends.preparation import Preparation
from depth_anything_ros.estimation.backends.torch_backends import forward
from depth_anything_ros.estimation.errors import BackendUnavailableError
from depth_anything_ros.lru import LRUDict
from depth_anything_ros.network import DepthAnything

_log = logging.getLogger(__name__)

# A compiled network serves one input size and number of images; a robot rarely has more of them than this.
_COMPILED_SIZES = 8


class CompiledBackend:
    """What a compiler makes, for the sizes seen last. A new size is compiled when it comes, which takes its time.

    Each is held against torch in fp32 on the first image of its size. One that is farther off than LIMITS gives way to
    the next precision, and after the last raises BackendUnavailableError.
    """

    def __init__(self, network: DepthAnything, compiler: Compiler, reason: str) -> None:
        self.name, self.device, self.hardware = compiler.name, compiler.device, compiler.hardware
        self.precision, self.reason, self.parallel = compiler.precisions[0], reason, compiler.parallel
        self._compiler = compiler
        self._reference = forward(network.to(compiler.device).eval(), compiler.device, 'fp32')
        self._runs: LRUDict[tuple[int, ...], tuple[str, Run]] = LRUDict(_COMPILED_SIZES)
        self._lock = Lock()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run; compiles first if the batch has a new shape."""
        shape = tuple(batch.shape)
        with self._lock:  # who comes while one compiles has most likely the same size, and waits for that
            if shape not in self._runs:
                expected = self._reference(batch)
                if not torch.isfinite(expected).all():
                    self.precision = 'fp32'
                    return expected  # nothing to be held against; the estimator says what this means
                make = partial(self._compiler.compile, batch)
                self._runs[shape] = first_accurate(self.name, self._compiler.precisions, make, batch, expected)
            self.precision, run = self._runs[shape]
        return run(batch)

    def serves(self, shape: tuple[int, ...]) -> bool:
        """Whether this shape needs no compilation."""
        return shape in self._runs

    def release(self) -> None:
        """Nothing: to compile again, for each frame where the memory stays short, takes longer than a frame may."""

    def close(self) -> None:
        """Give the compiled networks back."""
        self._runs.clear()


class AutoBackend:
    """Torch, and a faster backend as soon as it is ready for an image size; for good torch if that cannot serve.

    live: frames do not wait. What takes seconds is done by another process meanwhile, and torch serves until then.
    Otherwise the first image of a size waits, so that the same images always give the same results.
    """

    def __init__(
        self, network: DepthAnything, torch_backend: Backend, compiler: CachingCompiler, reason: str, *, live: bool
    ) -> None:
        self._network, self._compiler, self._live = network, compiler, live
        self._torch, self._fast = torch_backend, CompiledBackend(network, compiler, reason)
        self._current = torch_backend if live else self._fast
        self._preparation: Preparation | None = None
        self._prepared: set[tuple[int, ...]] = set()
        self._problem = ''
        self._lock = Lock()

    @property
    def name(self) -> str:
        """What ran last; before that, what will."""
        return self._current.name

    @property
    def device(self) -> torch.device:
        """The same of both."""
        return self._torch.device

    @property
    def hardware(self) -> str:
        """Of what ran last."""
        return self._current.hardware

    @property
    def precision(self) -> str:
        """Of what ran last."""
        return self._current.precision

    @property
    def parallel(self) -> int:
        """Of what ran last."""
        return self._current.parallel

    @property
    def reason(self) -> str:
        """Why it is this one, and what is to come."""
        if self._problem:
            return self._problem
        if self._current is self._torch:
            return f'until {self._fast.name} is ready for this image size ({self._fast.reason})'
        return self._fast.reason

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run by what is ready."""
        with self._lock:
            ready = not self._problem and self._is_ready(tuple(batch.shape))
        if ready:
            try:
                result = self._fast(batch)
            except BackendUnavailableError as error:
                self._give_up(str(error))
            else:
                self._current = self._fast
                return result
        self._current = self._torch
        return self._torch(batch)

    def release(self) -> None:
        """Nothing: it is not for a GPU."""

    def close(self) -> None:
        """End the preparation, if there is one."""
        if self._preparation is not None:
            self._preparation.close()
        self._fast.close()

    def _is_ready(self, shape: tuple[int, ...]) -> bool:
        if self._preparation is not None:
            self._attend(self._preparation)
        if self._problem:
            return False
        if not self._live or self._fast.serves(shape):
            return True
        if self._compiler.is_prepared(shape):
            self._prepared.discard(shape)  # should it be lost some day, it may be made again
            return True
        if self._preparation is None:
            self._prepare(shape)
        return False

    def _prepare(self, shape: tuple[int, ...]) -> None:
        name = self._fast.name
        if shape in self._prepared:
            self._give_up(f'{name} was made ready, but nothing of it is in the cache')
            return
        self._prepared.add(shape)
        _log.info('%s is made ready for %dx%d by another process; torch serves until then', name, *shape[2:])
        try:
            self._preparation = Preparation(self._network, self._compiler, shape)
        except OSError as error:
            self._give_up(f'no process can be started for {name}: {error}')

    def _attend(self, preparation: Preparation) -> None:
        problem = preparation.problem()
        if problem is None:
            return
        preparation.close()
        self._preparation = None
        if problem:
            self._give_up(f'{self._fast.name} cannot be made ready: {problem}')

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        _log.warning('torch stays: %s', problem)
