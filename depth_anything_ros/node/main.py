"""The executable depth_node."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException, ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from depth_anything_ros.node.depth_node import DepthNode
from depth_anything_ros.node.logs import Complaints
from depth_anything_ros.node.parameters import SettingsError

# How often the executor looks whether it was told to stop.
_STOP_POLL_S = 0.2


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; 1 if its parameters or its model are wrong."""
    try:
        # rclpy's own handlers end the context under the worker, whose last frame then fails.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # such as a parameter file that is not there
        print(f'depth_node: {error}', file=sys.stderr)
        return 1
    stopping, starting, node = [], True, None

    def stop(number: int, _) -> None:
        stopping.append(number)
        # Once: ros2 launch sends a second one beside the terminal's, which would break off the end.
        is_loading = starting or (node is not None and node.is_configuring)  # a download may take minutes
        if is_loading and len(stopping) == 1:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    executor = SingleThreadedExecutor()
    try:
        node = DepthNode()
        executor.add_node(node)
        if node.settings.autostart and not node.start():
            return 1
        starting = False
        spin(executor, stopping, Complaints(node.get_logger()))
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except (
        SettingsError,
        ParameterException,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        print(f'depth_node: {error}', file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
        # While the interpreter ends it would die of one.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return 0


def spin(executor: Executor, stopping: Sequence[int], complaints: Complaints) -> None:
    """Call back until there is something in stopping; a callback that raises is told, and the others go on."""
    while not stopping:
        try:
            executor.spin_once(timeout_sec=_STOP_POLL_S)
        except ExternalShutdownException:
            raise
        except Exception:
            complaints.error(f'a callback failed: {traceback.format_exc()}')


if __name__ == '__main__':
    sys.exit(main())
