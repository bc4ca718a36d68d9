"""The table: a claim per row, in numbers, on scenes that no training has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.comparison import Comparison, compare
from training.evaluation.results import Result
from training.evaluation.table import heading, line, number
from training.smoke import pipeline


@dataclass(frozen=True)
class Row:
    """What is compared: the second network with the first, by a metric."""

    claim: str
    first: str
    second: str
    metric: str


ROWS = (
    Row('the teacher against the untrained network', pipeline.UNTRAINED, pipeline.TEACHER, 'abs_rel'),
    Row('the same, by delta1', pipeline.UNTRAINED, pipeline.TEACHER, 'delta1'),
    Row('pseudo-labels alone against the untrained network', pipeline.UNTRAINED, pipeline.STUDENT, 'abs_rel'),
    Row('the student against its teacher', pipeline.TEACHER, pipeline.STUDENT, 'abs_rel'),
    Row('the student with perturbation against without', pipeline.STUDENT, pipeline.PERTURBED, 'abs_rel'),
    Row('what corrupted labels do to the student', pipeline.STUDENT, pipeline.CORRUPTED, 'abs_rel'),
    Row('corrupted labels, trimmed against not', pipeline.CORRUPTED, pipeline.TRIMMED, 'abs_rel'),
    Row('gradient matching against none, edges', pipeline.TEACHER_WITHOUT, pipeline.TEACHER, 'boundary_f1'),
    Row('the same, by AbsRel', pipeline.TEACHER_WITHOUT, pipeline.TEACHER, 'abs_rel'),
)


def compare_rows(results: Mapping[str, Result], seed: int) -> list[Comparison]:
    """The comparison of each of ROWS; results by network."""
    return [compare(results[row.first], results[row.second], row.metric, seed) for row in ROWS]


def rows_as_json(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Rows and comparisons as JSON values."""
    return [
        {**dataclasses.asdict(row), 'comparison': dataclasses.asdict(one)} for row, one in zip(ROWS, found, strict=True)
    ]


def markdown(found: Sequence[Comparison], label_errors: Mapping[str, float], facts: str) -> str:
    """The table, and what a reader of it must know.

    Args:
        found: of compare_rows.
        label_errors: mean AbsRel of the clean and the corrupted pseudo-labels.
        facts: seed, machine and minutes, in words.
    """
    head = ['second against first', 'metric', 'first', 'second', 'difference', '95 % interval', 'verdict']
    lines = [line(head), line(['---'] * len(head))]
    lines += [line(_cells(row, one)) for row, one in zip(ROWS, found, strict=True)]
    clean, corrupted = label_errors.values()
    notes = (
        f'On {found[0].images} held-out images. ↑ more is better, ↓ less is better. Pseudo-labels on the unlabelled '
        f'scenes: AbsRel {number(clean)}; after corruption {number(corrupted)}.\n\n'
        'Intervals are over images. Each network was trained once, so they do not have the chance of its seed: a small '
        f'difference may be that.\n\n{facts}\n'
    )
    return '# make train-smoke\n\n' + '\n'.join(lines) + '\n\n' + notes


def _cells(row: Row, one: Comparison) -> list[str]:
    interval = 'too few images' if one.low is None else f'{one.low:+.4f} to {one.high:+.4f}'
    values = [number(one.first), number(one.second), f'{one.difference:+.4f}']
    return [row.claim, heading(row.metric), *values, interval, one.verdict]
