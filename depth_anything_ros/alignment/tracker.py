"""Scale and shift over time: a Kalman filter on (log scale, shift) that a single wild fit does not move."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import exp, log, sqrt

import numpy as np

from depth_anything_ros.alignment.alignment import Alignment

# Squared Mahalanobis distances by degrees of freedom, one where the shift is held, two otherwise: what one of a
# thousand good fits exceeds, and the median (chi-square).
_GATE = {1: 10.8, 2: 13.8}
_EXPECTED_MEDIAN = {1: 0.455, 2: 1.386}
# So many fits in a row that disagree with the alignment and agree with each other are a lasting change.
CONFIRMATIONS = 3
# The drift follows what is seen: so many squared distances should have the median of chi-square. A few wild fits
# among them do not change a median.
_REMEMBERED_DISTANCES = 15
_MIN_DISTANCES = 5
_STEP = (0.8, 1.5)
_RESTLESSNESS = (0.2, 300.0)
# Relative, of the state's own magnitudes: keeps matrices regular where a source claims to be exact.
_LEAST_SIGMA = 1e-4
# Of the log scale, when a new one is looked for: any.
_ANY_SCALE = 10.0


@dataclass(frozen=True)
class _State:
    """Mean and covariance of (log scale, shift) at a time; reach: what the disparity spans in 1/m, for the drift."""

    mean: np.ndarray
    covariance: np.ndarray
    stamp_ns: int
    reach: float
    fit: Alignment

    def at(self, stamp_ns: int, drift: float) -> _State:
        """The state after a random walk until then."""
        variance = drift**2 * max(stamp_ns - self.stamp_ns, 0) / 1e9
        grown = self.covariance + variance * np.diag([1.0, self.reach**2])
        return replace(self, covariance=grown, stamp_ns=max(stamp_ns, self.stamp_ns))

    def alignment(self) -> Alignment:
        """The value that holds, with the last fit's account of itself."""
        return replace(
            self.fit,
            scale=exp(self.mean[0]),
            shift=float(self.mean[1]),
            covariance=(float(self.covariance[0, 0]), float(self.covariance[0, 1]), float(self.covariance[1, 1])),
        )


class Tracker:
    """Filters fits into the alignment in force.

    drift: standard deviation of the random walk of scale, relative, after one second; of the shift the same fraction
    of the image's span of inverse depth. It says how much a network's scale is expected to change with the scene.
    """

    def __init__(self, drift: float) -> None:
        self.drift = drift
        self._state: _State | None = None
        self._candidate: _State | None = None
        self._confirmed = 0
        self._distances: deque[float] = deque(maxlen=_REMEMBERED_DISTANCES)
        self._restlessness = 1.0

    @property
    def stamp_ns(self) -> int | None:
        """Time of the last evidence that was used."""
        state = self._state  # other threads ask, too
        return state.fit.stamp_ns if state else None

    def forget(self) -> None:
        """Start anew with the next fit."""
        self._state = self._candidate = None
        self._confirmed = 0
        self._distances.clear()
        self._restlessness = 1.0

    def go_through(self, gain: float, offset: float) -> None:
        """Refer to disparity from now on that was gain * disparity + offset until now, see Alignment."""
        self._state, self._candidate = (
            state and _moved(state, state.alignment().through(gain, offset)) for state in (self._state, self._candidate)
        )

    def at(self, stamp_ns: int) -> Alignment | None:
        """The alignment at a time, its covariance grown since the last evidence; None before the first."""
        return self._state.at(stamp_ns, self._drift).alignment() if self._state else None

    def update(self, fit: Alignment, reach: float, *, held_at_slope: float | None = None) -> str:
        """Take a fit with covariance and stamp; returns why it is held back, empty if it is not.

        reach: the span of inverse depth in the image, 1/m. held_at_slope: mean of scale * disparity of the samples if
        the shift was not measured but held, 1/m: then only what scale and shift give there is known.
        """
        measured = _measured(fit, reach)
        if self._state is None:
            self._state = measured
            return ''
        updated, distance = _combine(self._state.at(measured.stamp_ns, self._drift), measured, held_at_slope)
        freedom = 1 if held_at_slope is not None or fit.covariance[2] == 0.0 else 2
        self._adapt(distance / _EXPECTED_MEDIAN[freedom])
        if distance <= _GATE[freedom]:
            self._state, self._candidate, self._confirmed = updated, None, 0
            return ''
        return self._consider(measured, held_at_slope, sqrt(distance), _GATE[freedom])

    @property
    def _drift(self) -> float:
        return self.drift * sqrt(self._restlessness)

    def _adapt(self, relative_distance: float) -> None:
        """Expect as much drift as there is, lest a restless network be mistaken for wild fits."""
        self._distances.append(relative_distance)
        if len(self._distances) >= _MIN_DISTANCES:
            step = sqrt(float(np.median(self._distances)))
            self._restlessness = float(np.clip(self._restlessness * np.clip(step, *_STEP), *_RESTLESSNESS))

    def _consider(self, measured: _State, held_at_slope: float | None, sigmas: float, gate: float) -> str:
        """Follow a lasting change; hold back anything else."""
        agrees = False
        if self._candidate is not None:
            predicted = self._candidate.at(measured.stamp_ns, self._drift)
            updated, distance = _combine(predicted, measured, held_at_slope)
            agrees = distance <= gate
        if agrees:
            self._candidate, self._confirmed = updated, self._confirmed + 1
        else:
            self._candidate, self._confirmed = self._start(measured, held_at_slope), 1
        if self._confirmed >= CONFIRMATIONS:
            self._state, self._candidate, self._confirmed = self._candidate, None, 0
            return ''
        return (
            f'the last fit is {sigmas:.1f} standard deviations from the alignment in force and is held back; '
            f'{CONFIRMATIONS} such fits in a row that agree would replace it'
        )

    def _start(self, measured: _State, held_at_slope: float | None) -> _State:
        """What a fit alone says; a shift that it held is as uncertain as it was, and only the scale is anew."""
        if held_at_slope is None:
            return measured
        before = self._state.at(measured.stamp_ns, self._drift)
        wide = replace(before, covariance=before.covariance + np.diag([_ANY_SCALE**2, 0.0]))
        return _combine(wide, measured, held_at_slope)[0]


def _measured(fit: Alignment, reach: float) -> _State:
    mean, covariance = _moments(fit)
    covariance += np.diag([_LEAST_SIGMA**2, (_LEAST_SIGMA * reach) ** 2])
    return _State(mean, covariance, fit.stamp_ns, reach, fit)


def _moved(state: _State, alignment: Alignment) -> _State:
    mean, covariance = _moments(alignment)
    return replace(state, mean=mean, covariance=covariance, fit=alignment)


def _moments(alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    log_scale, mixed, shift = alignment.covariance
    return np.array([log(alignment.scale), alignment.shift]), np.array([[log_scale, mixed], [mixed, shift]])


def _combine(state: _State, measured: _State, held_at_slope: float | None) -> tuple[_State, float]:
    """The Kalman update, and the squared Mahalanobis distance of what was measured."""
    if held_at_slope is None:
        observe, noise = np.eye(2), measured.covariance
    else:
        # A held shift that is wrong by e moves the fitted log scale by -e / slope: the sum is what is observed.
        observe, noise = np.array([[1.0, 1.0 / held_at_slope]]), measured.covariance[:1, :1]
    innovation = observe @ (measured.mean - state.mean)
    expected = observe @ state.covariance @ observe.T + noise
    gain = np.linalg.solve(expected, observe @ state.covariance).T
    kept = np.eye(2) - gain @ observe
    # Joseph's form stays symmetric and positive.
    covariance = kept @ state.covariance @ kept.T + gain @ noise @ gain.T
    field = _blend(state.fit.field, measured.fit.field, float(np.clip(gain[0, 0], 0.0, 1.0)))
    mean = state.mean + gain @ innovation
    # Before a wall the image spans nothing, and a shift that nobody measures wanders as it did.
    reach = measured.reach if held_at_slope is None else max(state.reach, measured.reach)
    combined = _State(mean, covariance, measured.stamp_ns, reach, replace(measured.fit, field=field))
    return combined, float(innovation @ np.linalg.solve(expected, innovation))


def _blend(before: tuple[float, ...], now: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Coefficients of the field on the way from one to the other; without one, zeros."""
    size = max(len(before), len(now))
    mixed = [
        (1.0 - share) * (before[k] if k < len(before) else 0.0) + share * (now[k] if k < len(now) else 0.0)
        for k in range(size)
    ]
    return tuple(mixed)
