"""A predicted image that stays in the memory of the device that made it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin

from depth_anything_ros.estimation.errors import NonFinitePredictionError
from depth_anything_ros.estimation.transfer import to_host

_ON_DEVICE: dict[np.ufunc, Callable] = {
    np.add: operator.add,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
}


class Resident(NDArrayOperatorsMixin):
    """A float32 image (H, W) on a device, which serves as an array to those who look at a few of its pixels.

    tensor: the image. finite: bool, of one element: whether all that the network said of it is. precision: what that
    was computed in.

    Indexing brings what is indexed to the host. Sums, products and quotients with numbers stay on the device. All else
    that NumPy does is done with a copy on the host. What comes to the host has been waited for, and raises
    NonFinitePredictionError unless the network's output is finite.
    """

    def __init__(self, tensor: torch.Tensor, finite: torch.Tensor, precision: str) -> None:
        self.tensor, self.finite, self.precision = tensor, finite, precision
        self.shape, self.ndim, self.size, self.nbytes = tuple(tensor.shape), 2, tensor.numel(), tensor.nbytes
        self.dtype = np.dtype(np.float32)
        self._checked = False

    def __getitem__(self, key: Any) -> np.ndarray:
        # NumPy says what the key means, and refuses one that is out of bounds: a GPU would never recover from it.
        found = torch.from_numpy(np.array(_positions(*self.shape)[key], order='C'))
        return self._on_host(torch.take(self.tensor, found.to(self.tensor.device)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._on_host(self.tensor).astype(dtype or np.float32, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        numbers = all(np.ndim(item) == 0 for item in inputs if item is not self)
        if ufunc in _ON_DEVICE and method == '__call__' and numbers and not kwargs:
            operands = (item.tensor if item is self else float(item) for item in inputs)
            return Resident(_ON_DEVICE[ufunc](*operands), self.finite, self.precision)
        arrays = (np.asarray(item) if isinstance(item, Resident) else item for item in inputs)
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # protocols that we do not speak, among them those of copying
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def _on_host(self, tensor: torch.Tensor) -> np.ndarray:
        if not self._checked:
            check_finite(bool(self.finite), self.precision)
            self._checked = True
        return to_host(tensor)


def check_finite(finite: bool, precision: str) -> None:
    """Raise NonFinitePredictionError unless finite: what the network said, computing in this precision."""
    if not finite:
        raise NonFinitePredictionError(
            f"the network's output has NaN or infinity (precision {precision}): "
            f'{"check" if precision == "fp32" else "try precision fp32, and check"} the weights'
        )


@lru_cache(maxsize=2)
def _positions(height: int, width: int) -> np.ndarray:
    """Where each pixel is in memory: int64 (height, width)."""
    positions = np.arange(height * width).reshape(height, width)
    positions.flags.writeable = False
    return positions
