"""Figures in cells, cells in Markdown tables, and reports in files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_ros.files import replacing

_PERCENTILES = (50, 95, 99)
# What takes less is worth another digit.
_SHORT_MS = 10.0


def percentiles(milliseconds: Sequence[float], percents: Sequence[int] = _PERCENTILES) -> dict[str, float]:
    """p50, p95 and p99 of latencies, or others."""
    values = np.percentile(milliseconds, percents).tolist()
    return {f'p{percent}': value for percent, value in zip(percents, values, strict=True)}


def milliseconds(latency: dict[str, float] | None) -> str:
    """Percentiles in a cell."""
    if not latency:
        return 'none'
    digits = 2 if max(latency.values()) < _SHORT_MS else 1
    return ' / '.join(f'{value:.{digits}f}' for value in latency.values())


def mebibytes(memory: dict[str, float]) -> str:
    """What memory.memory() says, in a cell."""
    used = f'{memory["memory_mib"]:.0f}'
    return f'{used} + {memory["gpu_memory_mib"]:.0f} of the GPU' if memory['gpu_memory_mib'] else used


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows, the first of which is the head, as Markdown."""
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([lines[0], '|' + ' --- |' * len(rows[0]), *lines[1:]])


def write_report(report: dict[str, Any], text: str, json_file: Path | None, markdown_file: Path | None) -> None:
    """Print the report as Markdown, and write it and the figures to the files that are named; raises OSError."""
    print(text)
    contents = {json_file: json.dumps(report, indent=2) + '\n', markdown_file: text + '\n'}
    for path, content in contents.items():
        if path is not None:
            with replacing(path) as unfinished:
                unfinished.write_text(content, encoding='utf-8')
