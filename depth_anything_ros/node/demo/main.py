"""Run the demo: start camera and node, listen, and hold what comes against the truth."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_anything_ros.checkpoints import UNTRAINED, name_or_default
from depth_anything_ros.geometry import colorize
from depth_anything_ros.geometry.ply import write_ply
from depth_anything_ros.messages import stamp_ns, to_rgb
from depth_anything_ros.node.demo.scene import Scene, motorcycle
from depth_anything_ros.node.trials import enter_private_domain, module_process, parameter_arguments

_FRAMES = 10
_PICTURES = ('input', 'depth', 'truth', 'error', 'disparity', 'overview')
# Until the node is heard: it loads its model first, and may have to fetch it. Then until the first frame, and the last.
_LOAD_TIMEOUT_S = 1800.0
_START_TIMEOUT_S = 120.0
_TIMEOUT_S = 300.0
# The error map's last colour.
_ERROR_SPAN = 0.3


class Subscriber(Node):
    """What any subscriber would see; it does not know the node."""

    def __init__(self) -> None:
        super().__init__('demo_subscriber')
        self.depths: list[np.ndarray] = []
        self.colors: list[np.ndarray] = []
        self.latencies_s: list[float] = []
        self.cloud: PointCloud2 | None = None
        self.info: CameraInfo | None = None
        self.clouds = 0
        self.statuses: dict[str, str] = {}
        self.create_subscription(Image, 'depth/image_rect', self._on_depth, 5)
        self.create_subscription(Image, 'depth/image_color', self._on_color, 5)
        self.create_subscription(CameraInfo, 'depth/camera_info', self._on_info, 5)
        self.create_subscription(PointCloud2, 'points', self._on_points, 5)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def _on_depth(self, message: Image) -> None:
        self.depths.append(np.frombuffer(message.data, np.float32).reshape(message.height, message.width).copy())

    def _on_color(self, message: Image) -> None:
        # Colour comes with metres and without, so it stands for the frame.
        self.colors.append(to_rgb(message).copy())
        self.latencies_s.append((self.get_clock().now().nanoseconds - stamp_ns(message)) / 1e9)

    def _on_info(self, message: CameraInfo) -> None:
        self.info = message

    def _on_points(self, message: PointCloud2) -> None:
        self.cloud = message
        self.clouds += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses = {status.name.rpartition(': ')[2]: status.message for status in message.status}


def main() -> int:
    """Run; 0 if frames came through, and, with a trained network, metres."""
    arguments = _arguments()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    enter_private_domain()
    scene = motorcycle()
    untrained = arguments.model == UNTRAINED
    with ExitStack() as stack:
        # The subscriber first, since it must hear the first output.
        rclpy.init()
        stack.callback(rclpy.try_shutdown)
        subscriber = Subscriber()
        processes = {
            'camera': stack.enter_context(module_process('depth_anything_ros.node.demo.camera')),
            'depth_node': stack.enter_context(
                module_process('depth_anything_ros.node.main', *_node_arguments(arguments, untrained))
            ),
        }
        executor = SingleThreadedExecutor()
        stack.callback(executor.shutdown)
        executor.add_node(subscriber)
        problem = _listen(subscriber, executor, processes)
    if problem:
        print(f'demo: {problem}', file=sys.stderr)
        return 1
    name = name_or_default(arguments.model, arguments.checkpoint) or arguments.checkpoint
    report = _report(subscriber, scene, name, untrained)
    print(report)
    _write(output, subscriber, scene, report)
    print(f'\nWritten to {output}/: {", ".join(sorted(path.name for path in output.iterdir()))}')
    if not subscriber.depths and not untrained:
        print(f'demo: no metres: {subscriber.statuses.get("alignment")}', file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='', help="name in the catalogue; empty: the node's default")
    parser.add_argument('--checkpoint', default='', help='weight file of that model')
    parser.add_argument('--output', type=Path, default=Path('demo'))
    return parser.parse_args()


def _node_arguments(arguments: argparse.Namespace, untrained: bool) -> list[str]:
    parameters = {'model': arguments.model, 'checkpoint': arguments.checkpoint, 'alignment.source': 'depth'}
    if untrained:
        # Random weights explain nothing of the scene, which the node would refuse; here the way of a frame counts.
        parameters |= {'alignment.min_explained': -1.0, 'alignment.max_scale_sigma': 100.0}
    return ['--ros-args', '-r', 'image:=image_rect', *parameter_arguments(parameters)]


def _listen(
    subscriber: Subscriber, executor: SingleThreadedExecutor, processes: dict[str, subprocess.Popen]
) -> str | None:
    """Until enough frames have come; says what went wrong, if anything."""
    deadline, heard, started = monotonic() + _LOAD_TIMEOUT_S, False, False
    while len(subscriber.colors) < _FRAMES:
        executor.spin_once(timeout_sec=0.2)
        for name, process in processes.items():
            if process.poll() is not None:
                return f'{name} ended with code {process.returncode}; its reason is above'
        if subscriber.statuses and not heard:
            heard, deadline = True, monotonic() + _START_TIMEOUT_S
        if subscriber.colors and not started:
            started, deadline = True, monotonic() + _TIMEOUT_S
        if monotonic() > deadline:
            seen = '; '.join(f'{name}: {text}' for name, text in subscriber.statuses.items()) or 'nothing'
            return f'{len(subscriber.colors)} of {_FRAMES} frames came in time. Diagnostics say: {seen}'
    return None


def accuracy(depth: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """AbsRel, delta1 (fraction within 1.25) and the fraction of known pixels with a finite depth, (H, W) metres."""
    known = np.isfinite(truth)
    both = known & np.isfinite(depth)
    if not both.any():
        return np.nan, np.nan, 0.0
    ratio = depth[both] / truth[both]
    return (
        float(np.mean(np.abs(ratio - 1.0))),
        float(np.mean(np.maximum(ratio, 1.0 / ratio) < 1.25)),
        float(both.sum() / known.sum()),
    )


def _report(subscriber: Subscriber, scene: Scene, model: str, untrained: bool) -> str:
    latencies_ms = 1e3 * np.array(subscriber.latencies_s)
    rows = [
        ('network', f'{model}, untrained: its depth means nothing yet' if untrained else model),
        ('frames received', len(subscriber.colors)),
        ('depth images received', len(subscriber.depths)),
        ('clouds received', subscriber.clouds),
        ('latency from stamp, p50', f'{np.percentile(latencies_ms, 50):.0f} ms'),
        ('latency from stamp, p95', f'{np.percentile(latencies_ms, 95):.0f} ms'),
    ]
    if subscriber.depths:
        absrel, delta1, share = accuracy(subscriber.depths[-1], scene.truth)
        note = ' (untrained)' if untrained else ''
        rows += [
            (f'AbsRel{note}', f'{absrel:.3f}'),
            (f'delta1{note}', f'{delta1:.3f}'),
            ('pixels with depth, of those with truth', f'{share:.1%}'),
        ]
    else:
        rows.append(('metres', f'none: {subscriber.statuses.get("alignment", "no diagnostics")}'))
    table = '\n'.join(f'| {name} | {value} |' for name, value in rows)
    return f'| | |\n|---|---|\n{table}'


def _write(output: Path, subscriber: Subscriber, scene: Scene, report: str) -> None:
    # What an earlier run left must not be taken for this one's.
    for name in (*(f'{picture}.png' for picture in _PICTURES), 'cloud.ply'):
        (output / name).unlink(missing_ok=True)
    pictures = {'input': scene.image}
    if subscriber.depths:
        depth = subscriber.depths[-1]
        error = np.abs(depth / scene.truth - 1.0)
        # colorize spans the percentiles; the error needs a fixed scale, or a bad map looks like a good one.
        error[np.isfinite(error)] = np.clip(error[np.isfinite(error)], 0.0, _ERROR_SPAN)
        pictures['depth'] = colorize(1.0 / depth)
        pictures['truth'] = colorize(1.0 / scene.truth)
        pictures['error'] = colorize(error, 'turbo', limits=(0.0, _ERROR_SPAN))
    else:
        pictures['disparity'] = subscriber.colors[-1]
    pictures['overview'] = np.hstack(list(pictures.values()))
    for name, picture in pictures.items():
        cv2.imwrite(str(output / f'{name}.png'), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if subscriber.cloud is not None:
        cloud = subscriber.cloud
        values = np.frombuffer(cloud.data, np.float32).reshape(-1, cloud.point_step // 4)
        bgr = np.ascontiguousarray(values[:, 3]).view(np.uint8).reshape(-1, 4)
        write_ply(output / 'cloud.ply', np.ascontiguousarray(values[:, :3]), bgr[:, 2::-1])
    (output / 'report.md').write_text(report + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
