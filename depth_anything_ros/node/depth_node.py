"""The ROS 2 node: an image in, depth and a point cloud out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from depth_anything_ros.messages import bridge_report
from depth_anything_ros.node.diagnostics import model_status
from depth_anything_ros.node.logs import RosLogHandler
from depth_anything_ros.node.parameters import SettingsError
from depth_anything_ros.node.settings import Settings
from depth_anything_ros.node.stream import Stream
from depth_anything_ros.node.transforms import TfTransforms
from depth_anything_ros.node.worker import Worker

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator

_Transition = Callable[['DepthNode', LifecycleState], TransitionCallbackReturn]


def _told(transition: _Transition) -> _Transition:
    """What fails in a transition is logged; rclpy would swallow it without a word."""

    @wraps(transition)
    def told(node: DepthNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().fatal(traceback.format_exc())
            return TransitionCallbackReturn.ERROR

    return told


class DepthNode(LifecycleNode):
    """Depth Anything on the topics of one camera or several.

    Topics, types, QoS and parameters: README.md. The executor's thread only stores what comes; the worker's
    do the work, with one model for all cameras.

    is_configuring: whether the model is being loaded; a download may take minutes.
    """

    def __init__(self, **kwargs) -> None:
        """Declare parameters and diagnostics; raises SettingsError and rclpy's parameter errors."""
        super().__init__('depth_node', **kwargs)
        self.is_configuring = False
        self._estimator: DepthEstimator | None = None
        self._worker: Worker | None = None
        self._streams: tuple[Stream, ...] = ()
        self._tf = TfTransforms(self)
        self._log_handler = RosLogHandler(self.get_logger())
        library_logger = logging.getLogger('depth_anything_ros')
        library_logger.addHandler(self._log_handler)
        library_logger.setLevel(logging.DEBUG)  # what is shown is ROS's to say
        # Last, since it may raise, and rclpy then destroys the node.
        self._settings = Settings.declare(self)
        self._tf.fixed_frame = self._settings.alignment_fixed_frame
        self._streams = tuple(Stream(self, name, self._settings, self._tf) for name in self._settings.camera_names)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Not on simulated time: the node must say that it waits for a clock that stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._settings.diagnostics_period_s, self._publish_diagnostics, clock=steady)
        self.create_service(SetBool, '~/enable', self._on_enable)

    # Lifecycle

    @_told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the topics; FAILURE, with the reason in the log, if there is no model."""
        self.is_configuring = True
        try:
            self._estimator = estimator = self._load_model()
            # Here rather than with the first frame, which would wait for it.
            self.get_logger().debug(str(bridge_report()))
            for stream in self._streams:
                stream.offer(estimator)
            self._worker = Worker(estimator, len(self._streams), self.get_logger())
        except SettingsError as error:  # the user's to mend, so one line and no traceback
            return self._fail(str(error))
        except Exception:
            return self._fail(traceback.format_exc())
        finally:
            self.is_configuring = False
        self.get_logger().info(
            f'{estimator.source.name} on {estimator.hardware} ({estimator.backend}, {estimator.precision}) '
            f'predicts {estimator.kind}'
        )
        return super().on_configure(state)

    @_told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and work; ERROR, with the reason in the log and everything given back, if that cannot be."""
        # The base class activates the publishers: first, since the worker wants them.
        result = super().on_activate(state)
        slot = self._worker.start()
        for stream in self._streams:
            stream.listen(slot)
        for stream in self._streams:
            stream.announce_alignment()
        return result

    @_told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the model stays loaded."""
        self._stop()
        return super().on_deactivate(state)

    @_told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the model and the topics."""
        self._release()
        return super().on_cleanup(state)

    @_told
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and give everything back."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back after a transition that failed, so that the node may be configured again."""
        for give_back in (self._stop, self._release):
            try:
                give_back()
            except Exception:
                self.get_logger().error(traceback.format_exc())
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:
        # A request that does not fit the state raises up to Jazzy: nobody is answered (rclpy #1209).
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except Exception as error:
            self.get_logger().error(f'transition {request.transition.id} refused: {error}')
            response.success = False
            return response

    @property
    def settings(self) -> Settings:
        """The parameters in force."""
        return self._settings

    def start(self) -> bool:
        """Configure and activate; False if that failed."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def destroy_node(self) -> None:
        """Stop the worker, then go."""
        self._stop()
        logging.getLogger('depth_anything_ros').removeHandler(self._log_handler)
        super().destroy_node()

    def _load_model(self) -> DepthEstimator:
        # Not at the top: torch takes seconds to import, in which the middleware finds who else is there.
        from depth_anything_ros.checkpoints import name_or_default  # noqa: PLC0415
        from depth_anything_ros.estimation import UNAVAILABLE_ERRORS, DepthEstimator  # noqa: PLC0415

        settings = self._settings
        try:
            return DepthEstimator(
                name_or_default(settings.model, settings.checkpoint),
                settings.checkpoint or None,
                settings.device,
                settings.precision,
                settings.backend,
                settings.input_size,
                accept_license=settings.accept_license,
                live=True,
            )
        except (*UNAVAILABLE_ERRORS, ValueError) as error:  # ValueError: a precision or an input size that cannot be
            raise SettingsError(str(error)) from error

    def _fail(self, reason: str) -> TransitionCallbackReturn:
        self.get_logger().fatal(reason)
        self._release()
        return TransitionCallbackReturn.FAILURE

    def _stop(self) -> None:
        # The last comes first, and one that fails does not keep the others from being done.
        with ExitStack() as steps:
            for stream in self._streams:
                steps.callback(stream.rest)
            steps.callback(self._tf.close)
            if self._worker is not None:
                steps.callback(self._worker.stop)
            for stream in self._streams:
                steps.callback(stream.stop_listening)

    def _release(self) -> None:
        estimator, self._worker, self._estimator = self._estimator, None, None
        with ExitStack() as steps:  # as above
            if estimator is not None:
                steps.callback(estimator.close)
            for stream in self._streams:
                steps.callback(stream.withdraw)

    # What may be asked of the node, and what it says of itself

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        for stream in self._streams:
            stream.enabled = request.data
            stream.announce_alignment()
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    def _on_set_parameters(self, parameters) -> SetParametersResult:
        try:
            after = self._settings.changed({parameter.name: parameter.value for parameter in parameters})
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = after
        self._tf.fixed_frame = after.alignment_fixed_frame
        for stream in self._streams:
            stream.change(after)
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        for stream in self._streams:
            stream.listen_again()
            # Where frames cease, nothing else says that the metres have ended.
            stream.announce_alignment()
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = self._estimator.hardware if self._estimator else 'none'
        message.status = [
            *(stream.frames_status(hardware) for stream in self._streams),
            model_status(f'{self.get_fully_qualified_name().lstrip("/")}: model', self._estimator, hardware),
            *(stream.alignment_status(hardware) for stream in self._streams),
            *(stream.camera_status(hardware) for stream in self._streams),
        ]
        self._diagnostics.publish(message)
