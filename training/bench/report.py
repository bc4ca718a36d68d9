"""What `depth-anything-train bench` says: Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from depth_anything_ros.benchmark.machine import machine_line
from depth_anything_ros.benchmark.report import mebibytes, milliseconds, table

# Columns: what a row is, by its key in the result, and what was found.
_STUDENT = {'variant': 'variant', 'workers': 'workers'}
_STUDENT_FIGURES = {
    'samples/s': lambda result: f'{result["samples_per_second"]:.2f}',
    'speed-up': lambda result: _factor(result['speed_up']),
    'step ms, p50 / p95': lambda result: milliseconds(result['step_ms']),
    "loader's share": lambda result: f'{result["loader_share"]:.1%}',
    'memory MiB': mebibytes,
    'first step s': lambda result: f'{result["first_step_s"]:.1f}',
}
_LABELS = {'precision': 'precision', 'batch': 'batch_size'}
_LABEL_FIGURES = {
    'images/s': lambda result: f'{result["images_per_second"]:.2f}',
    'speed-up': lambda result: _factor(result['speed_up']),
    'memory MiB': mebibytes,
}


def markdown(report: Mapping[str, Any]) -> str:
    """The report as two tables, with what they depend on above them."""
    settings = report['settings']
    height, width = report['image_size']
    rows, columns = settings['size']
    student = (
        f"The student's step: crops of {columns}x{rows}, {settings['batch_size']} a batch, {settings['steps']} steps."
    )
    labels = f'Pseudo-labels: shorter sides of {min(rows, columns)}, {settings["labelled_images"]} images.'
    return '\n\n'.join(
        (
            f'{machine_line(report["machine"])} {settings["architecture"]}, JPEG images of {width}x{height}.',
            student,
            _table(report['student'], _STUDENT, _STUDENT_FIGURES),
            labels,
            _table(report['labelling'], _LABELS, _LABEL_FIGURES),
        )
    )


def _table(
    results: Sequence[Mapping[str, Any]],
    what: Mapping[str, str],
    figures: Mapping[str, Callable[[Mapping[str, Any]], str]],
) -> str:
    rows = [(*what, *figures)]
    for result in results:
        if 'reason' in result:
            # A bar would end the cell.
            cells = [f'not measured: {result["reason"].replace("|", "/")}', *[''] * (len(figures) - 1)]
        else:
            cells = [cell(result) for cell in figures.values()]
        rows.append((*(str(result[key]) for key in what.values()), *cells))
    return table(rows)


def _factor(value: float | None) -> str:
    return '' if value is None else f'{value:.2f}'
