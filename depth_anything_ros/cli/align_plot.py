"""The plot of depth-anything align. Matplotlib is needed here only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from depth_anything_ros.cli.trial import BIN_EDGES_M, Row, Trial
from depth_anything_ros.files import replacing

# Of a bin with fewer samples nothing is shown: its mean is chance.
_MIN_SAMPLES = 20
_STATES = {
    'aligned': '#2a9d5c',
    'metric': '#2a9d5c',
    'kept': '#a8d5b5',
    'gated': '#e9b44c',
    'refused': '#d9703f',
    'aged': '#6c757d',
    'none': '#ced4da',
}
# Okabe and Ito: told apart by the colour blind too.
_COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#000000')


def write_plot(path: Path, trials: Sequence[Trial]) -> None:
    """Draw error, alignment and states over time, and error and calibration over distance; raises OSError."""
    figure = Figure(figsize=(13, 10), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(4, 2, height_ratios=(0.12 + 0.1 * len(trials), 1, 1, 1.1))
    states = figure.add_subplot(grid[0, :])
    error = figure.add_subplot(grid[1, :], sharex=states)
    scale, shift = figure.add_subplot(grid[2, 0], sharex=states), figure.add_subplot(grid[2, 1], sharex=states)
    distance, calibration = figure.add_subplot(grid[3, 0]), figure.add_subplot(grid[3, 1])
    start_ns = min(row.stamp_ns for trial in trials for row in trial.rows)
    _draw_states(states, trials, start_ns)
    for trial, color in zip(trials, _cycle(len(trials)), strict=True):
        times = np.array([(row.stamp_ns - start_ns) / 1e9 for row in trial.rows])
        _draw_error(error, trial, times, color)
        _draw_band(scale, trial, times, color, lambda row: row.scale, lambda row: row.scale * row.scale_sigma)
        _draw_band(shift, trial, times, color, lambda row: row.shift, lambda row: row.shift_sigma)
        scale.plot(times, _values(trial, lambda row: row.best_scale), ':', color=color, linewidth=1)
        shift.plot(times, _values(trial, lambda row: row.best_shift), ':', color=color, linewidth=1)
        _draw_distance(distance, calibration, trial, color)
    _finish(
        error,
        'AbsRel',
        'solid: the alignment in force; dotted: the best scale and shift in hindsight; shaded: no metres',
        'time, s',
    )
    error.set_ylim(bottom=0)
    error.legend(loc='upper right', fontsize=8)
    _finish(scale, 'scale, 1/m', 'scale, with one sigma; dotted: in hindsight', 'time, s')
    _finish(shift, 'shift, 1/m', 'shift, with one sigma; dotted: in hindsight', 'time, s')
    _finish(distance, 'AbsRel', 'error by distance; dotted: in hindsight', 'true depth, m')
    distance.set_ylim(bottom=0)
    _finish(calibration, 'share of samples', 'within 1 sigma (solid) and 2 sigma (dashed) by distance', 'true depth, m')
    calibration.set_ylim(0, 1.02)
    for share in (0.683, 0.954):
        calibration.axhline(share, color='#888888', linewidth=0.8)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=110)


def _cycle(count: int) -> list[str]:
    return [_COLORS[index % len(_COLORS)] for index in range(count)]


def _values(trial: Trial, value: Callable[[Row], float]) -> np.ndarray:
    return np.array([value(row) for row in trial.rows], np.float64)


def _finish(axes: Axes, ylabel: str, title: str, xlabel: str) -> None:
    axes.set_title(title, fontsize=9, loc='left')
    axes.set_ylabel(ylabel)
    axes.set_xlabel(xlabel)
    axes.grid(alpha=0.3)


def _draw_states(axes: Axes, trials: Sequence[Trial], start_ns: int) -> None:
    """A bar for every source: what state it was in, from each frame to the next."""
    seen = set()
    for index, trial in enumerate(trials):
        starts = _values(trial, lambda row: (row.stamp_ns - start_ns) / 1e9)
        widths = np.diff(starts, append=starts[-1] + (np.median(np.diff(starts)) if len(starts) > 1 else 1.0))
        colors = [_STATES[row.state] for row in trial.rows]
        axes.barh(np.full(len(starts), -index), widths, left=starts, height=0.8, color=colors, linewidth=0)
        seen |= {row.state for row in trial.rows}
    axes.set_yticks(-np.arange(len(trials)), [trial.label for trial in trials])
    axes.tick_params(labelbottom=False)
    axes.margins(x=0)
    handles = [Patch(color=color, label=state) for state, color in _STATES.items() if state in seen]
    axes.legend(handles=handles, loc='lower left', bbox_to_anchor=(0, 1), ncol=len(handles), fontsize=8, frameon=False)


def _draw_error(axes: Axes, trial: Trial, times: np.ndarray, color: str) -> None:
    without = _values(trial, lambda row: not row.metres) > 0
    height = axes.get_xaxis_transform()  # in y from 0 to 1, whatever the error
    axes.fill_between(times, 0, 1, where=without, step='post', transform=height, color=color, alpha=0.12, linewidth=0)
    error = _values(trial, lambda row: row.score.abs_rel)
    axes.plot(times, error, '.-', color=color, linewidth=1.2, markersize=3, label=trial.label)
    axes.plot(times, _values(trial, lambda row: row.best.abs_rel), ':', color=color, linewidth=1.2)


def _draw_band(axes: Axes, trial: Trial, times, color: str, value, sigma) -> None:
    values, deviation = _values(trial, value), np.nan_to_num(_values(trial, sigma))
    axes.plot(times, values, '.-', color=color, linewidth=1.2, markersize=3)
    axes.fill_between(times, values - deviation, values + deviation, color=color, alpha=0.2, linewidth=0)


def _draw_distance(distance: Axes, calibration: Axes, trial: Trial, color: str) -> None:
    enough = trial.distances.samples >= _MIN_SAMPLES
    centres = np.sqrt(BIN_EDGES_M[1:] * BIN_EDGES_M[:-1])[enough]
    error, best, within_1, within_2 = trial.distances.means()[:, enough]
    distance.plot(centres, error, '.-', color=color)
    distance.plot(centres, best, ':', color=color)
    calibration.plot(centres, within_1, '.-', color=color)
    calibration.plot(centres, within_2, '.--', color=color)
