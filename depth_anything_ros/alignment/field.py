"""A scale that varies slowly over the image: scale(u, v) = scale * (1 + sum of c_k phi_k(x, y)).

The phi are x, y and, at order 2, also x^2 - 1/3, xy, y^2 - 1/3, in coordinates that go from -1 to 1 over the image,
so that their mean over it is zero and `scale` stays the image's mean.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

MAX_ORDER = 2
_TERMS = {1: 2, 2: 5}
_GRID = (6, 8)
# Of the grid's cells, so many must hold samples: a polynomial runs away where it has none.
_MIN_COVERAGE = 0.6
# What the coefficients are expected to be, standard deviation: a network is rarely off by more from side to side.
_EXPECTED = 0.2
_SMALLEST, _LARGEST = 0.5, 2.0
_ITERATIONS = 3
_TUKEY = 4.685


def field_over_image(coefficients: tuple[float, ...], height: int, width: int) -> np.ndarray:
    """1 + sum of c_k phi_k at every pixel: float32 (height, width)."""
    return np.float32(1.0) + np.tensordot(
        np.float32(coefficients), basis_over_image(len(coefficients), height, width), 1
    )


@lru_cache(maxsize=4)
def basis_over_image(terms: int, height: int, width: int) -> np.ndarray:
    """The phi at every pixel: float32 (terms, height, width), read-only and cached."""
    y, x = np.meshgrid(
        2.0 * (np.arange(height) + 0.5) / height - 1.0, 2.0 * (np.arange(width) + 0.5) / width - 1.0, indexing='ij'
    )
    basis = _basis(x, y, terms).astype(np.float32)
    basis.flags.writeable = False
    return basis


def fit_field(
    pixels: np.ndarray,
    size: tuple[int, int],
    slope: np.ndarray,
    residual: np.ndarray,
    noise: np.ndarray,
    order: int,
) -> tuple[float, ...]:
    """Fit the coefficients to what a constant scale leaves over, robustly; empty if the evidence does not carry it.

    pixels: (N, 2) u, v. size: (height, width) of the image. slope: (N,) scale * disparity. residual: (N,) measured
    minus fitted inverse depth. noise: (N,) its standard deviation. order: 1 or 2.
    Ridge regression, closed-form inside Tukey's iteration. Refused, by an empty result, if the samples cover too
    little of the image or the field would leave the range of 0.5 to 2.
    """
    height, width = size
    x, y = 2.0 * (pixels[:, 0] + 0.5) / width - 1.0, 2.0 * (pixels[:, 1] + 0.5) / height - 1.0
    if coverage(x, y) < _MIN_COVERAGE:
        return ()
    design = _basis(x, y, _TERMS[order]).T * (slope / noise)[:, None]
    target = residual / noise
    # Samples err together within a cell, so that each cell counts as one.
    cells = int(np.prod(_GRID))
    ridge = np.eye(_TERMS[order]) * (len(x) / cells) / _EXPECTED**2
    coefficients = np.zeros(_TERMS[order])
    for _ in range(_ITERATIONS):
        left = (target - design @ coefficients) / _TUKEY
        weight = np.maximum(1.0 - left * left, 0.0) ** 2
        weighted = design * weight[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ target)
    values = field_over_image(tuple(coefficients), 9, 9)
    if not (values.min() > _SMALLEST and values.max() < _LARGEST):
        return ()
    return tuple(float(value) for value in coefficients)


def coverage(x: np.ndarray, y: np.ndarray) -> float:
    """The share of a coarse grid's cells that hold a sample; x, y from -1 to 1."""
    rows, columns = _GRID
    row = np.clip(((y + 1.0) * 0.5 * rows).astype(int), 0, rows - 1)
    column = np.clip(((x + 1.0) * 0.5 * columns).astype(int), 0, columns - 1)
    return np.unique(row * columns + column).size / (rows * columns)


def _basis(x: np.ndarray, y: np.ndarray, terms: int) -> np.ndarray:
    return np.stack([x, y, x * x - 1.0 / 3.0, x * y, y * y - 1.0 / 3.0][:terms])
