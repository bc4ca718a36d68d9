"""What depth-anything align prints and writes: a line per frame, and the whole."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import isnan, nan
from pathlib import Path

from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.cli.pipeline import counts_of
from depth_anything_ros.cli.trial import Row, Trial
from depth_anything_ros.files import replacing

_FRAME_HEADINGS = (
    *('frame', 'time s', 'state', 'scale 1/m', 'shift 1/m', 'age s'),
    *('samples', 'AbsRel', 'delta1', 'median', 'best', '1 sigma', '2 sigma', 'reason'),
)
_FRAME_LINE = '{:>6} {:>8} {:<8} {:>10} {:>10} {:>6} {:>8} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8}  {}'
_NUMBER = re.compile(r'\d+(\.\d+)?(e[-+]?\d+)?')


def print_frames(trials: Sequence[Trial], *, quiet: bool) -> None:
    """Print a table for every source, unless quiet."""
    if quiet:
        return
    for trial in trials:
        print(f'{trial.label}\n\n{_FRAME_LINE.format(*_FRAME_HEADINGS)}')
        for index, row in enumerate(trial.rows):
            print(_FRAME_LINE.format(*_frame_cells(index, row, trial.rows[0].stamp_ns)).rstrip())
        print()


def print_overall(trials: Sequence[Trial]) -> None:
    """Print a Markdown table with a column for every source, and what was wrong how often."""
    lines = [['', *(trial.label for trial in trials)]]
    lines += [[heading, *(value(trial.rows) for trial in trials)] for heading, value in _OVERALL]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for index, cells in enumerate(lines):
        if index == 1:
            print('|' + '|'.join('-' * (width + 2) for width in widths) + '|')
        print('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + ' |')
    for trial in trials:
        believed = trial.rows[-1].state == 'metric'
        print(f'\n{trial.label}:', "the model's own metres" if believed else counts_of(trial.aligner.state))
        for what, reasons in (
            ('without metres', [row.reason for row in trial.rows if not row.metres]),
            ('with metres, but', [row.reason for row in trial.rows if row.metres]),
            ('without truth', [row.truth_problem for row in trial.rows]),
        ):
            for reason, count in _grouped(reasons):
                print(f'  {count} frames {what}: {reason}')


def write_csv(path: Path, trials: Iterable[Trial]) -> None:
    """Write a line for every frame of every source; numbers that there are not are empty. Raises OSError."""
    with replacing(path) as unfinished, unfinished.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['source', 'frame', *_CSV])
        for trial in trials:
            for index, row in enumerate(trial.rows):
                writer.writerow([trial.label, index, *(_csv_cell(value(row)) for value in _CSV.values())])


_CSV: dict[str, Callable[[Row], object]] = {
    'stamp_ns': lambda row: row.stamp_ns,
    'state': lambda row: row.state,
    'metres': lambda row: int(row.metres),
    'scale': lambda row: row.scale,
    'scale_sigma': lambda row: row.scale_sigma,
    'shift': lambda row: row.shift,
    'shift_sigma': lambda row: row.shift_sigma,
    'age_s': lambda row: row.age_s,
    'samples': lambda row: row.score.samples,
    'seen': lambda row: row.score.seen,
    'abs_rel': lambda row: row.score.abs_rel,
    'delta1': lambda row: row.score.delta1,
    'median': lambda row: row.score.median,
    'within_1_sigma': lambda row: row.score.within_1_sigma,
    'within_2_sigma': lambda row: row.score.within_2_sigma,
    'best_scale': lambda row: row.best_scale,
    'best_shift': lambda row: row.best_shift,
    'best_abs_rel': lambda row: row.best.abs_rel,
    'best_delta1': lambda row: row.best.delta1,
    'best_median': lambda row: row.best.median,
    'reason': lambda row: row.reason,
    'truth_problem': lambda row: row.truth_problem,
}


def _frame_cells(index: int, row: Row, start_ns: int) -> tuple[str, ...]:
    score = row.score
    return (
        str(index),
        f'{(row.stamp_ns - start_ns) / 1e9:.3f}',
        row.state,
        _text(row.scale, '.4g'),
        _text(row.shift, '.4g'),
        _text(row.age_s, '.2f'),
        str(score.samples),
        *(_text(value, '.4f') for value in (score.abs_rel, score.delta1, score.median, row.best.abs_rel)),
        *(_text(value, '.0%') for value in (score.within_1_sigma, score.within_2_sigma)),
        row.reason or row.truth_problem,
    )


def pooled(rows: Sequence[Row], value: Callable[[Row], float], weight: Callable[[Row], float]) -> float:
    """The mean over all samples of the frames that were judged."""
    pairs = [(value(row), weight(row)) for row in rows if row.judged and not isnan(value(row))]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else nan


def _mean(rows: Sequence[Row], value: Callable[[Row], float]) -> float:
    return pooled(rows, value, lambda row: 1.0)


def _pooled_seen(value: Callable[[Row], float], form: str) -> Callable[[Sequence[Row]], str]:
    return lambda rows: _text(pooled(rows, value, lambda row: row.score.seen), form)


def _pooled_all(value: Callable[[Row], float], form: str) -> Callable[[Sequence[Row]], str]:
    return lambda rows: _text(pooled(rows, value, lambda row: row.score.samples), form)


_OVERALL: tuple[tuple[str, Callable[[Sequence[Row]], str]], ...] = (
    ('frames', lambda rows: str(len(rows))),
    ('with metres', lambda rows: _text(sum(row.metres for row in rows) / max(len(rows), 1), '.1%')),
    ('judged', lambda rows: str(sum(row.judged for row in rows))),
    ('AbsRel, mean of frames', lambda rows: _text(_mean(rows, lambda row: row.score.abs_rel), '.4f')),
    ('AbsRel, pooled', _pooled_seen(lambda row: row.score.abs_rel, '.4f')),
    ('best in hindsight', _pooled_seen(lambda row: row.best.abs_rel, '.4f')),
    ('delta1', _pooled_all(lambda row: row.score.delta1, '.4f')),
    ('median, mean of frames', lambda rows: _text(_mean(rows, lambda row: row.score.median), '.4f')),
    ('depth at samples', _pooled_all(lambda row: row.score.seen / row.score.samples, '.1%')),
    ('within 1 sigma (68 %)', _pooled_seen(lambda row: row.score.within_1_sigma, '.1%')),
    ('within 2 sigma (95 %)', _pooled_seen(lambda row: row.score.within_2_sigma, '.1%')),
)


def _grouped(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """How often each, numbers apart; the first of each kind stands for all."""
    counts, first = Counter(), {}
    for reason in filter(None, reasons):
        kind = _NUMBER.sub('#', reason)
        counts[kind] += 1
        first.setdefault(kind, reason)
    return [(first[kind], count) for kind, count in counts.most_common()]


def _text(value: float, form: str) -> str:
    return '-' if isnan(value) else format(value, form)


def _csv_cell(value: object) -> object:
    return '' if isinstance(value, float) and isnan(value) else value


def check_plot(path: Path) -> None:
    """Raise UsageError for a plot that cannot be drawn: before the work, not after it."""
    if path.suffix.lower() != '.png':
        raise UsageError(f'--plot {path}: expected a name that ends in .png')
    if importlib.util.find_spec('matplotlib') is None:
        raise CommandError(
            '--plot needs Matplotlib, which is not installed: apt install python3-matplotlib, or pip install matplotlib'
        )
