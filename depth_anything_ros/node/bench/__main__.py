"""Time the node between cameras and a subscriber, each in a process of its own.

Run with a JSON object: the node's model, checkpoint, accept_license, device, precision, backend and input_size; the
images' size [width, height]; the rate_hz of each of how many cameras; whether these have separate_nodes; and for how
many seconds: it ends with the first counts that the node tells after those. Prints a JSON object: sent and answered
frames, latency_ms from the stamp to depth and to points, the node's own counts of these frames, CPU cores and
memory_mib in equal slices of the time, and the latency of each slice; of all cameras and nodes together. Whoever runs
it holds its standard input open until then: it ends with that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_anything_ros.benchmark.report import percentiles
from depth_anything_ros.messages import stamp_ns
from depth_anything_ros.node.trials import enter_private_domain, module_process, parameter_arguments

_START_TIMEOUT_S = 180.0
# The node tells its counts once a second; a busy machine may be late.
_COUNTS_TIMEOUT_S = 30.0
# Frames before the clock starts: the first ones wait for what is compiled or allocated once.
_WARM_UP_FRAMES = 10
_SLICES = 10
_BYTES_A_MIB = 1024 * 1024
_STDIN = 0
_TOPICS = {'depth': ('depth/image_rect', Image), 'points': ('points', PointCloud2)}
# The node's names for what became of a frame, and ours.
_COUNTS = {
    'received': 'received',
    'processed': 'processed',
    'replaced by a newer frame': 'replaced',
    'lost in transport': 'lost',
    'rejected': 'rejected',
    'failed': 'failed',
    'withheld': 'withheld',
}


class Subscriber(Node):
    """What a subscriber to all cameras sees: for each output, when which stamp came."""

    def __init__(self, cameras: list[str]) -> None:
        super().__init__('bench_subscriber')
        self.sent: list[int] = []
        self.arrivals: dict[str, list[tuple[int, int]]] = {name: [] for name in _TOPICS}
        self.answers = {(camera, name): 0 for camera in cameras for name in _TOPICS}
        self._cameras = len(cameras)
        self._counts: dict[str, dict[str, int]] = {}
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10 * len(cameras))
        for camera in cameras:
            prefix = f'{camera}/' if camera else ''
            self.create_subscription(CameraInfo, f'{prefix}camera_info', self._on_camera, qos_profile_sensor_data)
            for name, (topic, kind) in _TOPICS.items():
                take = partial(self._on_output, camera, name)
                self.create_subscription(kind, f'{prefix}{topic}', take, 5)

    @property
    def counts(self) -> dict[str, int] | None:
        """What became of all cameras' frames; None before each has been told of since `forget_counts`."""
        if len(self._counts) < self._cameras:
            return None
        return {ours: sum(counts[ours] for counts in self._counts.values()) for ours in _COUNTS.values()}

    @property
    def heard(self) -> str:
        """What has come of each camera, and what was told of its frames, to be read."""
        answers = [f'{camera or "camera"} {name} {count}' for (camera, name), count in self.answers.items()]
        told = [f'{name} {counts}' for name, counts in self._counts.items()]
        return f'answers: {", ".join(answers)}; told: {"; ".join(told) or "nothing"}'

    def forget_counts(self) -> None:
        """They are of a second ago, or of before the first frame."""
        self._counts = {}

    def _on_camera(self, message: CameraInfo) -> None:
        self.sent.append(stamp_ns(message))

    def _on_output(self, camera: str, name: str, message: Image | PointCloud2) -> None:
        self.answers[camera, name] += 1
        self.arrivals[name].append((stamp_ns(message), self.get_clock().now().nanoseconds))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': frames'):
                values = {item.key: item.value for item in status.values}
                self._counts[status.name] = {ours: int(values[theirs]) for theirs, ours in _COUNTS.items()}


class Trial:
    """A subscriber at work, for as long as there are the nodes, and somebody who wants to know."""

    class Ended(Exception):
        """There is no more of it to measure; the message says why."""

    def __init__(
        self,
        subscriber: Subscriber,
        executor: SingleThreadedExecutor,
        nodes: list[subprocess.Popen],
        cameras: list[subprocess.Popen],
    ) -> None:
        self.subscriber = subscriber
        self.nodes = nodes
        self._processes = [*(('node', node) for node in nodes), *(('camera', camera) for camera in cameras)]
        self._executor = executor
        self._abandoned = Event()
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        # Not sys.stdin: its lock, held by a thread that waits, makes the interpreter abort when it ends.
        os.read(_STDIN, 1)
        self._abandoned.set()

    def spin(self) -> None:
        """Take what has come, or wait for it a moment; raises Ended."""
        self._executor.spin_once(timeout_sec=0.1)
        for name, process in self._processes:
            if process.poll() is not None:
                raise self.Ended(f'the {name} ended with code {process.returncode}')
        if self._abandoned.is_set():
            raise self.Ended('stopped, since whoever started it is gone')


def main() -> int:
    """Measure; 0 if the node answered."""
    options = json.loads(sys.argv[1])
    enter_private_domain()
    with ExitStack() as stack:
        rclpy.init()
        stack.callback(rclpy.try_shutdown)
        cameras = [f'camera{number}' for number in range(1, options['cameras'] + 1)] if options['cameras'] > 1 else ['']
        subscriber = Subscriber(cameras)
        executor = SingleThreadedExecutor()
        stack.callback(executor.shutdown)
        executor.add_node(subscriber)
        # Our own output is the result alone.
        start = partial(_start, stack)
        if options['separate_nodes']:
            nodes = [start('node.main', *_node_arguments(options, ['']), *_in_namespace(camera)) for camera in cameras]
        else:
            nodes = [start('node.main', *_node_arguments(options, cameras))]
        drivers = [start('node.bench.camera', sys.argv[1], '--ros-args', *_in_namespace(camera)) for camera in cameras]
        # All at once: one after the other, each with the time to stop, would be longer than our parent waits.
        stack.callback(_interrupt, [*nodes, *drivers])
        trial = Trial(subscriber, executor, nodes, drivers)
        try:
            _warm_up(trial)
            print(json.dumps(_measure(trial, options['seconds'])))
        except Trial.Ended as error:
            print(f'{__package__}: {error}', file=sys.stderr)
            return 1
    return 0


def _start(stack: ExitStack, module: str, *arguments: str) -> subprocess.Popen:
    return stack.enter_context(module_process(f'depth_anything_ros.{module}', *arguments, stdout=sys.stderr))


def _interrupt(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


def _in_namespace(camera: str) -> list[str]:
    return ['-r', f'__ns:=/{camera}'] if camera else []


def _node_arguments(options: dict[str, Any], cameras: list[str]) -> list[str]:
    names = ('model', 'checkpoint', 'accept_license', 'device', 'precision', 'backend', 'input_size')
    # Metres without evidence, so that the whole way of a frame is gone; of which value they are changes no time.
    metres = {'alignment.source': 'fixed', 'alignment.fixed.scale': 0.01, 'alignment.fixed.shift': 0.1}
    named = {'cameras': cameras} if cameras != [''] else {}
    return ['--ros-args', *parameter_arguments({name: options[name] for name in names} | metres | named)]


def _warm_up(trial: Trial) -> None:
    deadline, subscriber = monotonic() + _START_TIMEOUT_S, trial.subscriber
    # Of each camera: separate nodes start when they can.
    while subscriber.counts is None or min(subscriber.answers.values()) < _WARM_UP_FRAMES:
        trial.spin()
        if monotonic() > deadline:
            raise Trial.Ended(f'not everything was answered within {_START_TIMEOUT_S:g} s: {subscriber.heard}')


def _fresh_counts(trial: Trial) -> dict[str, int]:
    """The node's counts as of now: what it told last can be of a second ago, or of before its first frame."""
    trial.subscriber.forget_counts()
    deadline = monotonic() + _COUNTS_TIMEOUT_S
    while (counts := trial.subscriber.counts) is None:
        trial.spin()
        if monotonic() > deadline:
            raise Trial.Ended(f'the node told nothing of its frames for {_COUNTS_TIMEOUT_S:g} s')
    return counts


def _measure(trial: Trial, seconds: float) -> dict[str, Any]:
    subscriber, pids = trial.subscriber, [node.pid for node in trial.nodes]
    before = _fresh_counts(trial)
    subscriber.sent.clear()
    for arrivals in subscriber.arrivals.values():
        arrivals.clear()
    start, cpu, slices = monotonic(), sum(map(_cpu_seconds, pids)), []
    for number in range(1, _SLICES + 1):
        seen = {name: len(arrivals) for name, arrivals in subscriber.arrivals.items()}
        while monotonic() < start + seconds * number / _SLICES:
            trial.spin()
        new = {name: arrivals[seen[name] :] for name, arrivals in subscriber.arrivals.items()}
        slices.append({'latency_ms': _latencies(new), 'memory_mib': sum(map(_memory_mib, pids))})
    # Up to a second more, which belongs to all but the slices: the counts are to be of the frames counted here.
    after = _fresh_counts(trial)
    elapsed = monotonic() - start
    answered = len(subscriber.arrivals['depth'])
    return {
        'sent': len(subscriber.sent),
        'answered': answered,
        'answered_hz': answered / elapsed,
        'latency_ms': _latencies(subscriber.arrivals),
        'counts': {name: count - before[name] for name, count in after.items()},
        'cpu_cores': (sum(map(_cpu_seconds, pids)) - cpu) / elapsed,
        'memory_mib': [part['memory_mib'] for part in slices],
        'slices': slices,
    }


def _latencies(arrivals: dict[str, list[tuple[int, int]]]) -> dict[str, dict[str, float] | None]:
    """Percentiles from stamp to arrival in milliseconds, by topic; None of a topic that was silent."""
    ages = {name: [(arrival - stamp) / 1e6 for stamp, arrival in pairs] for name, pairs in arrivals.items()}
    return {name: percentiles(values) if values else None for name, values in ages.items()}


def _cpu_seconds(pid: int) -> float:
    """Of user and system time that a process has spent (proc(5), stat)."""
    fields = Path(f'/proc/{pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _memory_mib(pid: int) -> float:
    """What a process has in memory."""
    pages = int(Path(f'/proc/{pid}/statm').read_text(encoding='ascii').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / _BYTES_A_MIB


if __name__ == '__main__':
    sys.exit(main())
