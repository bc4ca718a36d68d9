"""What `depth-anything bench` says: Markdown tables."""

from __future__ import annotations

from typing import Any

from depth_anything_ros.benchmark.machine import machine_line
from depth_anything_ros.benchmark.report import mebibytes, milliseconds, table


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
             'frames/s', 'floor', 'start s', 'memory MiB')]  # fmt: skip
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
                f'{result["floor_ms"]:.2f}' if 'floor_ms' in result else '',
                f'{result["start_s"]:.1f}',
                mebibytes(result),
            )
        )
    return table(rows)


def _node_table(results: list[dict[str, Any]]) -> str:
    rows = [('node with', 'backend', 'precision', 'cameras', 'sent Hz each', 'depth', 'points', 'answered Hz',
             'sent', 'answered', 'replaced', 'other', 'CPU cores', 'memory MiB, first and last')]  # fmt: skip
    for result in results:
        counts = result['counts']
        other = sum(count for name, count in counts.items() if name not in ('received', 'processed', 'replaced'))
        rows.append(
            (
                result['model'],
                result['backend'],
                result['precision'],
                _cameras(result),
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


def _cameras(result: dict[str, Any]) -> str:
    nodes = 'in a node each' if result['separate_nodes'] else 'in one node'
    return '1' if result['cameras'] == 1 else f'{result["cameras"]} {nodes}'


def _name(case: dict[str, Any]) -> str:
    backend = f'transformers, {case["reference"]}' if case['reference'] else case['backend']
    return f'{case["model"] or "the default model"} with {backend} on {case["device"]}'
