"""What the demo and the benchmark have in common: a ROS domain of their own, processes, and an ideal camera."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from depth_anything_ros.fast_dds import profile_variable
from depth_anything_ros.files import share_files

_STOP_TIMEOUT_S = 30.0
_LOOPBACK = '127.0.0.1'
_LOOPBACK_TIMEOUT_S = 1.0


def enter_private_domain() -> None:
    """For this process and its children: side by side, or on a robot's network, they are not heard by others.

    Raises SystemExit with the reason where processes of this machine cannot find each other: else they wait in silence.
    """
    if not _hears_itself():
        sys.exit(
            f"{_LOOPBACK} cannot be reached, by which ROS's processes find each other on one machine: "
            '`ip link set lo up` as root'
        )
    os.environ['ROS_DOMAIN_ID'] = str(random.randint(1, 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.setdefault(profile_variable(), str(_profile()))


def _hears_itself() -> bool:
    """Whether a datagram to the loopback interface arrives there, which one that is down does not say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(_LOOPBACK_TIMEOUT_S)
        try:
            own.bind((_LOOPBACK, 0))
            own.sendto(b'?', own.getsockname())
            own.recv(1)
        except OSError:
            return False
    return True


def _profile() -> Path:
    places = share_files('config/fastdds.xml')
    for path in places:
        if path.exists():
            return path
    raise FileNotFoundError(f'fastdds.xml is in none of: {", ".join(map(str, places))}')


def parameter_arguments(parameters: Mapping[str, Any]) -> list[str]:
    """A node's parameters as arguments after --ros-args."""
    # JSON is YAML: strings quoted, numbers not.
    return [part for name, value in parameters.items() for part in ('-p', f'{name}:={json.dumps(value)}')]


@contextmanager
def module_process(module: str, *arguments: str, stdout: TextIO | None = None) -> Iterator[subprocess.Popen]:
    """A module run as a process that is asked to stop at the end, and made to if it does not."""
    process = subprocess.Popen([sys.executable, '-m', module, *arguments], stdout=stdout)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f'{module} did not stop within {_STOP_TIMEOUT_S:g} s', file=sys.stderr)
            process.kill()
            process.wait()


def pinhole(width: int, height: int, focal: float, centre: tuple[float, float]) -> CameraInfo:
    """The calibration of an ideal camera: focal length and principal point (x, y) in pixels."""
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob')
    cx, cy = centre
    info.d = [0.0] * 5
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def spin_until_told(make_node: Callable[[], Node]) -> int:
    """The main function of such a process: spin a node until SIGINT; returns the exit code."""
    rclpy.init()
    try:
        rclpy.spin(make_node())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # how it is told to stop
    finally:
        rclpy.try_shutdown()
    return 0
