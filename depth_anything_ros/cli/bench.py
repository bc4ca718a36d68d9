"""depth-anything bench: how long a frame takes on this machine, for models, sizes, backends and devices."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    results, unavailable = _engine(args)
    if not results:
        raise CommandError('; '.join(dict.fromkeys(case['reason'] for case in unavailable)))
    report: dict[str, Any] = {
        'machine': machine(result['device'] for result in results),
        'image_size': list(args.size),
        'frames': args.frames,
        'results': results,
        'unavailable': unavailable,
    }
    if args.end_to_end:
        # Of several cameras, for comparison, each with a node of its own too.
        arrangements = (False, True) if args.cameras > 1 else (False,)
        ours = [result for result in results if not result['reference']]
        nodes = [_end_to_end(result, args, separate) for result in ours for separate in arrangements]
        report['end_to_end'] = [node for node in nodes if 'reason' not in node]
        report['unavailable'] += [node for node in nodes if 'reason' in node]
    write_report(report, tables(report), args.json, args.markdown)
    if args.end_to_end and not report['end_to_end']:
        reasons = [case['reason'] for case in nodes or report['unavailable']]
        raise CommandError('; '.join(dict.fromkeys(reasons)))
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
    with ExitStack() as stack:
        trials = [_Trial(case, stack) for case in cases(args)]
        for number in tqdm(range(_ROUNDS), desc='bench', unit='round', disable=None):
            # As even as it gets: the first rounds have one more.
            frames = len(range(number, args.frames, _ROUNDS))
            for trial in trials if frames else ():
                trial.time(frames)
        for trial in trials:
            trial.end()
    results = [trial.result() for trial in trials if not trial.problem]
    return results, [{**trial.asked, 'reason': trial.problem} for trial in trials if trial.problem]


class _Trial:
    """A case in a process of its own. asked: what it is. problem: why there is no result, '' as long as there may be.

    A process that dies, as one does that the system ends for its memory, costs the other cases nothing.
    """

    def __init__(self, case: Case, stack: ExitStack) -> None:
        """Start it; it ends with the stack."""
        self.asked = {name: getattr(case, name) for name in ('model', 'backend', 'device', 'precision', 'reference')}
        self.problem = ''
        self._times: dict[str, list[float]] = {part: [] for part in PARTS}
        self._process = stack.enter_context(_process('depth_anything_ros.cli.bench_case', case.to_json()))
        asked = {'model_asked': case.model, 'precision_asked': case.precision}
        self._facts = {**self.asked, **asked, **self._answer()}

    def time(self, frames: int) -> None:
        """Time so many frames."""
        if self.problem:
            return
        with suppress(BrokenPipeError):  # it has ended, which its answer says
            self._process.stdin.write(f'{frames}\n')
            self._process.stdin.flush()
        for part, values in self._answer().items():
            self._times[part] += values

    def end(self) -> None:
        """Take its last words."""
        if not self.problem:
            self._process.stdin.close()
            self._facts |= self._answer()

    def result(self) -> dict[str, Any]:
        """What it took."""
        latency = {part: percentiles(values) for part, values in self._times.items()}
        rate = 1e3 * len(self._times['total']) / sum(self._times['total'])
        return {**self._facts, 'latency_ms': latency, 'frames_per_second': rate}

    def _answer(self) -> dict[str, Any]:
        """What it says next, nothing where that is a problem."""
        line = self._process.stdout.readline()
        if line:
            answer = json.loads(line)
            self.problem = answer.pop('error', '')
            return answer
        code = self._process.wait(_STOP_TIMEOUT_S)
        self.problem = f'its process ended with code {code}; what it said is above'
        return {}


def _end_to_end(result: dict[str, Any], args: Namespace, separate_nodes: bool) -> dict[str, Any]:
    """The node with the same settings, between cameras and a subscriber of their own processes.

    What it took, or in `reason` why there is nothing.
    """
    width, height = args.size
    asked = {
        # As asked: what a file says of itself need not be in the catalogue.
        'model': result['model_asked'],
        'checkpoint': args.checkpoint,
        'accept_license': args.accept_license,
        'device': result['device'],
        # As asked: what the node's first image gives way to is the node's to find.
        'precision': result['precision_asked'],
        'backend': result['backend'],
        'input_size': min(result['network_size']),
        'size': [width, height],
        'rate_hz': args.rate,
        'cameras': args.cameras,
        'separate_nodes': separate_nodes,
        'seconds': args.seconds,
    }
    with _process('depth_anything_ros.node.bench', json.dumps(asked)) as process:
        line = process.stdout.readline()
    case = {**asked, 'model': result['model']}
    if line:
        return {**case, **json.loads(line)}
    reason = f'the measurement of the node ended with code {process.returncode}; what it said is above'
    return {**case, 'reference': '', 'reason': reason}


@contextmanager
def _process(module: str, argument: str) -> Iterator[subprocess.Popen[str]]:
    """A process of this interpreter that we talk with; it ends when its input does."""
    command = [sys.executable, '-m', module, argument]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        with suppress(BrokenPipeError):  # it has ended before it read all
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
