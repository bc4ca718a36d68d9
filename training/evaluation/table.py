"""The table: networks by metrics, with what the papers report beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.evaluation.comparison import Comparison
from training.metrics import HIGHER_IS_BETTER

_SHOWN = {
    'abs_rel': 'AbsRel',
    'delta1': 'delta1',
    'rmse': 'RMSE (m)',
    'silog': 'SiLog',
    'da2k': 'accuracy',
    'boundary_f1': 'edge F1',
    'flicker': 'flicker',
    'flicker_scale': 'flicker of scale',
}
"""The metrics of the table, of which those that a data set has are shown; results.json has all."""


@dataclass(frozen=True)
class Section:
    """All that is known about one data set.

    Attributes:
        data: its name. protocol: the name of its protocol.
        summaries: of each network, as Outcome.summary gives them.
        note: what a reader of the numbers must know, or ''.
        paper: of each network with a row in the papers, that row.
        comparisons: of each network but the first with the first.
    """

    data: str
    protocol: str
    summaries: Mapping[str, Mapping[str, Any]]
    note: str = ''
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The head of its table, and a row of text for each network."""
        metrics = [metric for metric in _SHOWN if any(metric in one['means'] for one in self.summaries.values())]
        with_paper = [metric for metric in metrics if any(metric in row for row in self.paper.values())]
        head = ['network']
        for metric in metrics:
            head.append(heading(metric))
            if metric in with_paper:
                head.append('paper')
        rows = []
        for model, summary in self.summaries.items():
            cells = [model]
            for metric in metrics:
                cells.append(number(summary['means'].get(metric)))
                if metric in with_paper:
                    cells.append(number(self.paper.get(model, {}).get(metric)))
            rows.append([*cells, str(summary['images']), _skipped(summary), _remarks(summary)])
        return [*head, 'images', 'skipped', 'remarks'], rows

    def verdicts(self) -> list[str]:
        """One sentence for each network that was compared with the first."""
        first = next(iter(self.summaries))
        return [f'{model} against {first}: {found.sentence()}' for model, found in self.comparisons.items()]


def heading(metric: str) -> str:
    """A metric's name in tables, with an arrow to what is better."""
    return f'{_SHOWN[metric]} {"↑" if metric in HIGHER_IS_BETTER else "↓"}'


def number(value: float | None) -> str:
    """With four digits of which the last means little; a dash for none."""
    if value is None:
        return '–'
    return f'{value:.4f}' if abs(value) < 10.0 else f'{value:.2f}'


def markdown(sections: list[Section]) -> str:
    """All data sets as Markdown."""
    parts = ['# Evaluation', 'Means per image, then over images. ↑ more is better, ↓ less is better.']
    for section in sections:
        head, rows = section.rows()
        parts.append(f'## {section.data} (protocol {section.protocol})')
        parts.append('\n'.join(line(cells) for cells in (head, ['---'] * len(head), *rows)))
        parts += [f'**{section.note}**'] if section.note else []
        parts += [f'- {verdict}' for verdict in section.verdicts()]
    return '\n\n'.join(parts) + '\n'


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f'| {" | ".join(cells)} |'


def _skipped(summary: Mapping[str, Any]) -> str:
    return ', '.join(f'{count} {reason}' for reason, count in summary['skipped'].items()) or '0'


def _remarks(summary: Mapping[str, Any]) -> str:
    found = [f'{summary[fact]} {fact}' for fact in ('inverted', 'constant') if summary[fact]]
    return ', '.join(found) or '–'
