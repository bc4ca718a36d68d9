"""depth-anything bench: how long a frame takes on this machine, for models, sizes, backends and devices."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tqdm import tqdm

from depth_anything_ros.benchmark.machine import machine
from depth_anything_ros.benchmark.report import percentiles, write_report
from depth_anything_ros.choices import BACKENDS
from depth_anything_ros.cli.bench_case import PARTS, Case
from depth_anything_ros.cli.bench_report import tables
from depth_anything_ros.cli.errors import CommandError

# The cases take turns, so that what else the machine does falls on all of them: ratios hold where times drift.
_ROUNDS = 5
_REFERENCES = ('eager', 'best')
_STOP_TIMEOUT_S = 60.0


def run(args: Namespace) -> int:
    """Run the command: Markdown tables on stdout, and files if asked for; raises CommandError if nothing could run."""
    report: dict[str, Any] = {'machine': machine(), 'image_size': list(args.size), 'frames': args.frames}
    report['results'], report['unavailable'] = _engine(args)
    if not report['results']:
        raise CommandError('; '.join(dict.fromkeys(case['reason'] for case in report['unavailable'])))
    if args.end_to_end:
        report['end_to_end'] = [_end_to_end(result, args) for result in report['results'] if not result['reference']]
    write_report(report, tables(report), args.json, args.markdown)
    return 0


def cases(args: Namespace) -> list[Case]:
    """All combinations of what was asked for, and the reference for each model, size and device."""
    # Those that are not installed say so. `auto` is one of the others; torch-compile takes minutes to be ready.
    backends = args.backend or [name for name in BACKENDS if name not in ('auto', 'torch-compile')]
    chosen = itertools.product(args.model, args.input_size, args.device)
    found = []
    for model, input_size, device in chosen:
        common = {
            'model': model,
            'checkpoint': args.checkpoint,
            'device': device,
            'input_size': input_size,
            'accept_license': args.accept_license,
            'size': args.size,
        }
        for backend, precision in itertools.product(backends, args.precision):
            found.append(Case(**common, backend=backend, precision=precision))
        if args.reference:
            found += [Case(**common, backend='', precision='', reference=name) for name in _REFERENCES]
    return found


def _engine(args: Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each case took, and the cases that could not be had, with the reason."""
    results, unavailable, running = [], [], []
    with ExitStack() as stack:
        for case in cases(args):
            process = stack.enter_context(_process('depth_anything_ros.cli.bench_case', case.to_json()))
            facts = _answer(process, case)
            asked = {name: getattr(case, name) for name in ('model', 'backend', 'device', 'precision', 'reference')}
            if 'error' in facts:
                unavailable.append({**asked, 'reason': facts['error']})
            else:
                times: dict[str, list[float]] = {part: [] for part in PARTS}
                running.append((case, process, {**asked, 'precision_asked': case.precision, **facts}, times))
        for number in tqdm(range(_ROUNDS), desc='bench', unit='round', disable=None):
            # As even as it gets: the first rounds have one more.
            frames = len(range(number, args.frames, _ROUNDS))
            for case, process, _, times in running if frames else ():
                process.stdin.write(f'{frames}\n')
                process.stdin.flush()
                for part, values in _answer(process, case).items():
                    times[part] += values
        for case, process, facts, times in running:
            process.stdin.close()
            latency = {part: percentiles(values) for part, values in times.items()}
            rate = 1e3 * len(times['total']) / sum(times['total'])
            results.append({**facts, **_answer(process, case), 'latency_ms': latency, 'frames_per_second': rate})
    return results, unavailable


def _answer(process: subprocess.Popen[str], case: Case) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        code = process.wait(_STOP_TIMEOUT_S)
        raise CommandError(f'{case.model or "the default model"} with {case.backend or case.reference} ended: {code}')
    return json.loads(line)


def _end_to_end(result: dict[str, Any], args: Namespace) -> dict[str, Any]:
    """The node with the same settings, between a camera and a subscriber of their own processes."""
    width, height = args.size
    asked = {
        'model': result['model'],
        'checkpoint': args.checkpoint,
        'accept_license': args.accept_license,
        'device': result['device'],
        # As asked: what the node's first image gives way to is the node's to find.
        'precision': result['precision_asked'],
        'backend': result['backend'],
        'input_size': min(result['network_size']),
        'size': [width, height],
        'rate_hz': args.rate,
        'seconds': args.seconds,
    }
    with _process('depth_anything_ros.node.bench', json.dumps(asked)) as process:
        line = process.stdout.readline()
    if not line:
        raise CommandError('the measurement of the node failed; its reason is above')
    return {**asked, **json.loads(line)}


@contextmanager
def _process(module: str, argument: str) -> Iterator[subprocess.Popen[str]]:
    """A process of this interpreter that we talk with; it ends when its input does."""
    command = [sys.executable, '-m', module, argument]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
