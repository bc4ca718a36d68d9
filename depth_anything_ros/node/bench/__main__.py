"""Time the node between a camera and a subscriber, each in a process of its own.

Run with a JSON object: the node's model, checkpoint, accept_license, device, precision, backend and input_size; the
image's size [width, height]; rate_hz; and for how many seconds: it ends with the first counts that the node tells after
those. Prints a JSON object: sent and answered frames, latency_ms from the stamp to depth and to points, the node's own
counts of these frames, CPU cores and memory_mib in equal slices of the time, and the latency of each slice. Whoever
runs it holds its standard input open until then: it ends with that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
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
    """What a subscriber sees: for each topic, when which stamp came."""

    def __init__(self) -> None:
        super().__init__('bench_subscriber')
        self.sent: list[int] = []
        self.arrivals: dict[str, list[tuple[int, int]]] = {name: [] for name in _TOPICS}
        self.counts: dict[str, int] = {}
        self.create_subscription(CameraInfo, 'camera_info', self._on_camera, qos_profile_sensor_data)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        for name, (topic, kind) in _TOPICS.items():
            self.create_subscription(kind, topic, lambda message, name=name: self._on_output(name, message), 5)

    def _on_camera(self, message: CameraInfo) -> None:
        self.sent.append(stamp_ns(message))

    def _on_output(self, name: str, message: Image | PointCloud2) -> None:
        self.arrivals[name].append((stamp_ns(message), self.get_clock().now().nanoseconds))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': frames'):
                values = {item.key: item.value for item in status.values}
                self.counts = {ours: int(values[theirs]) for theirs, ours in _COUNTS.items()}


class Trial:
    """A subscriber at work, for as long as there is a node, and somebody who wants to know."""

    class Ended(Exception):
        """There is no more of it to measure; the message says why."""

    def __init__(self, subscriber: Subscriber, executor: SingleThreadedExecutor, node: subprocess.Popen) -> None:
        self.subscriber = subscriber
        self.node = node
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
        if self.node.poll() is not None:
            raise self.Ended(f'the node ended with code {self.node.returncode}')
        if self._abandoned.is_set():
            raise self.Ended('stopped, since whoever started it is gone')


def main() -> int:
    """Measure; 0 if the node answered."""
    options = json.loads(sys.argv[1])
    enter_private_domain()
    with ExitStack() as stack:
        rclpy.init()
        stack.callback(rclpy.try_shutdown)
        subscriber = Subscriber()
        executor = SingleThreadedExecutor()
        stack.callback(executor.shutdown)
        executor.add_node(subscriber)
        # Our own output is the result alone.
        arguments = _node_arguments(options)
        node = stack.enter_context(module_process('depth_anything_ros.node.main', *arguments, stdout=sys.stderr))
        camera = 'depth_anything_ros.node.bench.camera'
        stack.enter_context(module_process(camera, sys.argv[1], stdout=sys.stderr))
        trial = Trial(subscriber, executor, node)
        try:
            _warm_up(trial)
            print(json.dumps(_measure(trial, options['seconds'])))
        except Trial.Ended as error:
            print(f'{__package__}: {error}', file=sys.stderr)
            return 1
    return 0


def _node_arguments(options: dict[str, Any]) -> list[str]:
    names = ('model', 'checkpoint', 'accept_license', 'device', 'precision', 'backend', 'input_size')
    # Metres without evidence, so that the whole way of a frame is gone; of which value they are changes no time.
    metres = {'alignment.source': 'fixed', 'alignment.fixed.scale': 0.01, 'alignment.fixed.shift': 0.1}
    return ['--ros-args', *parameter_arguments({name: options[name] for name in names} | metres)]


def _warm_up(trial: Trial) -> None:
    deadline = monotonic() + _START_TIMEOUT_S
    while min(map(len, trial.subscriber.arrivals.values())) < _WARM_UP_FRAMES:
        trial.spin()
        if monotonic() > deadline:
            raise Trial.Ended(f'the node did not answer within {_START_TIMEOUT_S:g} s: {trial.subscriber.counts}')


def _fresh_counts(trial: Trial) -> dict[str, int]:
    """The node's counts as of now: what it told last can be of a second ago, or of before its first frame."""
    trial.subscriber.counts = {}
    deadline = monotonic() + _COUNTS_TIMEOUT_S
    while not trial.subscriber.counts:
        trial.spin()
        if monotonic() > deadline:
            raise Trial.Ended(f'the node told nothing of its frames for {_COUNTS_TIMEOUT_S:g} s')
    return trial.subscriber.counts


def _measure(trial: Trial, seconds: float) -> dict[str, Any]:
    subscriber, pid = trial.subscriber, trial.node.pid
    before = _fresh_counts(trial)
    subscriber.sent.clear()
    for arrivals in subscriber.arrivals.values():
        arrivals.clear()
    start, cpu, slices = monotonic(), _cpu_seconds(pid), []
    for number in range(1, _SLICES + 1):
        seen = {name: len(arrivals) for name, arrivals in subscriber.arrivals.items()}
        while monotonic() < start + seconds * number / _SLICES:
            trial.spin()
        new = {name: arrivals[seen[name] :] for name, arrivals in subscriber.arrivals.items()}
        slices.append({'latency_ms': _latencies(new), 'memory_mib': _memory_mib(pid)})
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
        'cpu_cores': (_cpu_seconds(pid) - cpu) / elapsed,
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
