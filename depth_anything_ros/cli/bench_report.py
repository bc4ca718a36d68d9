"""What `depth-anything bench` says: the machine, and Markdown tables."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from depth_anything_ros.cli.files import replacing


def machine() -> dict[str, Any]:
    """What the figures depend on beside the options."""
    return {
        'cpu': _cpu_model(),
        'cores': os.cpu_count(),
        'cpu_flags': _cpu_flags(),
        'torch_threads': torch.get_num_threads(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'platform': platform.platform(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }


def machine_line(about: dict[str, Any]) -> str:
    """What machine() says, in a sentence."""
    flags = f' with {", ".join(about["cpu_flags"])}' if about['cpu_flags'] else ''
    gpu = about['gpu'] or 'no GPU'
    return f'{about["cpu"]}{flags}, {about["cores"]} cores, {gpu}, torch {about["torch"]}.'


def write_report(report: dict[str, Any], text: str, json_file: Path | None, markdown_file: Path | None) -> None:
    """Print the report as Markdown, and write it and the figures to the files that are named; raises OSError."""
    print(text)
    contents = {json_file: json.dumps(report, indent=2) + '\n', markdown_file: text + '\n'}
    for path, content in contents.items():
        if path is not None:
            with replacing(path) as unfinished:
                unfinished.write_text(content, encoding='utf-8')


def tables(report: dict[str, Any]) -> str:
    """The report as Markdown: the estimator, the node if it was measured, and what could not be had and why."""
    width, height = report['image_size']
    parts = [
        f'{machine_line(report["machine"])} A {width}x{height} image, {report["frames"]} frames, milliseconds as '
        'p50 / p95 / p99.',
        _engine_table(report['results']),
    ]
    if report.get('end_to_end'):
        parts.append(_node_table(report['end_to_end']))
    missing = [f'{_name(case)}: {case["reason"]}' for case in report['unavailable']]
    if missing:
        parts.append('Not measured:\n\n' + '\n'.join(f'- {line}' for line in missing))
    return '\n\n'.join(parts)


def _engine_table(results: list[dict[str, Any]]) -> str:
    rows = [('model', 'backend', 'device', 'precision', 'network size', 'preprocess', 'network', 'postprocess', 'total',
             'frames/s', 'start s', 'memory MiB')]  # fmt: skip
    for result in results:
        latencies = (milliseconds(latency) for latency in result['latency_ms'].values())
        rows.append(
            (
                result['model'],
                result['backend'],
                result['device'],
                result['precision'],
                'x'.join(map(str, result['network_size'])),
                *latencies,
                f'{result["frames_per_second"]:.1f}',
                f'{result["start_s"]:.1f}',
                mebibytes(result),
            )
        )
    return table(rows)


def _node_table(results: list[dict[str, Any]]) -> str:
    rows = [('node with', 'backend', 'precision', 'sent Hz', 'depth', 'points', 'answered Hz', 'sent', 'answered',
             'replaced', 'other', 'CPU cores', 'memory MiB, first and last')]  # fmt: skip
    for result in results:
        counts = result['counts']
        other = sum(count for name, count in counts.items() if name not in ('received', 'processed', 'replaced'))
        rows.append(
            (
                result['model'],
                result['backend'],
                result['precision'],
                f'{result["rate_hz"]:g}',
                milliseconds(result['latency_ms']['depth']),
                milliseconds(result['latency_ms']['points']),
                f'{result["answered_hz"]:.1f}',
                str(result['sent']),
                str(result['answered']),
                str(counts['replaced']),
                str(other),
                f'{result["cpu_cores"]:.2f}',
                f'{result["memory_mib"][0]:.0f} and {result["memory_mib"][-1]:.0f}',
            )
        )
    return table(rows)


def milliseconds(latency: dict[str, float] | None) -> str:
    """Percentiles in a cell."""
    return ' / '.join(f'{value:.1f}' for value in latency.values()) if latency else 'none'


def mebibytes(memory: dict[str, float]) -> str:
    """What bench_case.memory() says, in a cell."""
    used = f'{memory["memory_mib"]:.0f}'
    return f'{used} + {memory["gpu_memory_mib"]:.0f} of the GPU' if memory['gpu_memory_mib'] else used


def _name(case: dict[str, Any]) -> str:
    backend = f'transformers, {case["reference"]}' if case['reference'] else case['backend']
    return f'{case["model"] or "the default model"} with {backend} on {case["device"]}'


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows, the first of which is the head, as Markdown."""
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([lines[0], '|' + ' --- |' * len(rows[0]), *lines[1:]])


def _cpu_model() -> str:
    for line in _cpuinfo():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    """Those that decide how fast a network runs."""
    words = {word for line in _cpuinfo() if line.startswith(('flags', 'Features')) for word in line.split()}
    wanted = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8', 'asimddp', 'bf16', 'i8mm')
    return [flag for flag in wanted if flag in words]


def _cpuinfo() -> list[str]:
    path = Path('/proc/cpuinfo')
    return path.read_text(encoding='ascii', errors='replace').splitlines() if path.exists() else []
