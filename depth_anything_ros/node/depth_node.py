"""The ROS 2 node: an image in, depth and a point cloud out."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from threading import Thread
from time import monotonic

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from depth_anything_ros.alignment import Aligner, AlignmentSource, DepthSource, FixedSource, NoSource
from depth_anything_ros.checkpoints import name_or_default
from depth_anything_ros.estimation import PREDICTION_ERRORS, UNAVAILABLE_ERRORS, DepthEstimator, Prediction
from depth_anything_ros.geometry import Camera, CameraInfoError, Cameras, PointCloud, mark_depth, point_cloud
from depth_anything_ros.messages import (
    ImageError,
    bridge_report,
    compressed_to_rgb,
    names_rectified_images,
    sibling,
    stamp_ns,
    to_depth,
    to_rgb,
)
from depth_anything_ros.node import outputs
from depth_anything_ros.node.diagnostics import FrameStatistics, make_status
from depth_anything_ros.node.latest import Latest
from depth_anything_ros.node.logs import Complaints, RosLogHandler
from depth_anything_ros.node.outputs import Outputs
from depth_anything_ros.node.settings import Settings, SettingsError

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

# The user's to mend, so one line and no traceback. ValueError: a precision or an input size that cannot be.
CONFIGURATION_ERRORS = (*UNAVAILABLE_ERRORS, ValueError)
FRAME_ERRORS = (ImageError, *PREDICTION_ERRORS)
# How long a worker may take to finish its frame before we stop waiting for it.
_JOIN_S = 30.0


@dataclass(frozen=True)
class _Frame:
    message: Image | CompressedImage
    arrived: float


class DepthNode(LifecycleNode):
    """Depth Anything on a camera topic.

    Topics, types, QoS and parameters: README.md. The executor's thread only stores the newest messages; one worker
    thread does the work, one frame at a time.
    """

    def __init__(self, **kwargs) -> None:
        """Declare parameters and diagnostics; raises SettingsError and rclpy's parameter errors."""
        super().__init__('depth_node', **kwargs)
        self._statistics = FrameStatistics()
        self._complaints = Complaints(self.get_logger())
        self._estimator: DepthEstimator | None = None
        self._outputs: Outputs | None = None
        self._cameras: Cameras | None = None
        self._camera_problem = 'no frame yet'
        self._inputs: list = []
        self._slot: Latest[_Frame] | None = None
        self._worker: Thread | None = None
        self._enabled = True
        self._warm: set[tuple[int, int]] = set()
        self._log_handler = RosLogHandler(self.get_logger())
        library_logger = logging.getLogger('depth_anything_ros')
        library_logger.addHandler(self._log_handler)
        library_logger.setLevel(logging.INFO)
        # Last, since it may raise, and rclpy then destroys the node.
        self._settings = Settings.declare(self)
        self._aligner = _make_aligner(self._settings)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Not on simulated time: the node must say that it waits for a clock that stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._settings.diagnostics_period_s, self._publish_diagnostics, clock=steady)
        self.create_service(SetBool, '~/enable', self._on_enable)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the topics; FAILURE, with the reason in the log, if there is no model."""
        settings = self._settings
        try:
            self._estimator = DepthEstimator(
                name_or_default(settings.model, settings.checkpoint),
                settings.checkpoint or None,
                settings.device,
                settings.precision,
                settings.backend,
                settings.input_size,
                accept_license=settings.accept_license,
            )
            # Here rather than with the first frame, which would wait for it.
            self.get_logger().debug(str(bridge_report()))
            self._outputs = Outputs(self)
        except CONFIGURATION_ERRORS as error:
            self.get_logger().fatal(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would swallow it without a word
            self.get_logger().fatal(traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        estimator = self._estimator
        self.get_logger().info(
            f'{estimator.source.name} on {estimator.device} ({estimator.backend}, {estimator.precision}) '
            f'predicts {estimator.kind}'
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and work."""
        # The base class activates the publishers: first, since the worker wants them.
        result = super().on_activate(state)
        self._slot = Latest()
        self._worker = Thread(target=self._work, args=(self._slot,), name='depth', daemon=True)
        self._worker.start()
        try:
            self._subscribe_all()
        except Exception:  # as above
            self.get_logger().fatal(traceback.format_exc())
            self._stop()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the model stays loaded."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the model and the topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and give everything back."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

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

    def _stop(self) -> None:
        self._unsubscribe_all()
        if self._slot is not None and self._worker is not None:
            self._slot.close()
            self._worker.join(_JOIN_S)
            if self._worker.is_alive():
                self.get_logger().error(f'the worker did not finish its frame within {_JOIN_S:g} s')
        self._slot = self._worker = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        if self._estimator is not None:
            self._estimator.close()
        self._outputs = self._estimator = None
        self._warm.clear()

    # Inputs; all of this on the executor's thread, which only stores what comes

    def _subscribe_all(self) -> None:
        image_topic, info_topic = self._input_topics()
        projection = self._settings.projection
        named_so = names_rectified_images(self.resolve_topic_name('image'))
        rectified = projection == 'rectified' or (projection == 'auto' and named_so)
        self._cameras = Cameras(info_topic, rectified=rectified)
        compressed = self._settings.image_transport == 'compressed'
        self._subscribe(CompressedImage if compressed else Image, image_topic, self._on_image, self._on_lost)
        self._subscribe(CameraInfo, info_topic, self._cameras.add)
        if self._settings.alignment_source == 'depth':
            self._subscribe(Image, 'scale_reference', self._on_reference)
        self.get_logger().info(
            f'{"rectified" if rectified else "raw"} images from {image_topic}, calibration from {info_topic}'
        )

    def _unsubscribe_all(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()

    def _subscribe(self, kind: type, topic: str, callback, on_lost=None) -> None:
        # Best effort connects to every camera driver. The callback keeps only the newest; the queue is for the moments
        # in which the interpreter is busy, when frames would be overwritten without anybody counting them.
        profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        overrides = QoSOverridingOptions.with_default_policies()
        events = SubscriptionEventCallbacks(message_lost=on_lost)
        try:
            subscription = self.create_subscription(
                kind, topic, callback, profile, qos_overriding_options=overrides, event_callbacks=events
            )
        except UnsupportedEventTypeError:  # a middleware that does not count what it loses
            subscription = self.create_subscription(kind, topic, callback, profile, qos_overriding_options=overrides)
        self._inputs.append(subscription)

    def _input_topics(self) -> tuple[str, str]:
        """Where image and camera_info are, by image_transport's rules: siblings, unless remapped apart."""
        image = image_topic = self.resolve_topic_name('image')
        if self._settings.image_transport == 'compressed':
            image_topic = self._remapped('image/compressed') or f'{image}/compressed'
        return image_topic, self._remapped('camera_info') or sibling(image, 'camera_info')

    def _remapped(self, name: str) -> str | None:
        resolved = self.resolve_topic_name(name)
        return resolved if resolved != self.resolve_topic_name(name, only_expand=True) else None

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._slot is not None:
            self._statistics.note_input(replaced=self._slot.put(_Frame(message, monotonic())))

    def _on_lost(self, event) -> None:
        self._statistics.note_lost(event.total_count_change)

    def _on_reference(self, message: Image) -> None:
        try:
            self._aligner.add_evidence(stamp_ns(message), to_depth(message))
        except ImageError as error:
            self._aligner.refuse_evidence(f'scale_reference: {error}')
            self._complaints.warn(f'scale_reference: {error}')

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    def _on_set_parameters(self, parameters) -> SetParametersResult:
        before = self._settings
        try:
            after = before.changed({parameter.name: parameter.value for parameter in parameters})
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = after
        if any(parameter.name.startswith('alignment.') for parameter in parameters):
            self._aligner = _make_aligner(after)
        topics_change = (after.alignment_source, after.projection) != (
            before.alignment_source,
            before.projection,
        )
        if topics_change and self._inputs:
            self._unsubscribe_all()
            self._subscribe_all()
        return SetParametersResult(successful=True)

    # The worker's thread

    def _work(self, slot: Latest[_Frame]) -> None:
        while (frame := slot.take()) is not None:
            try:
                self._process(frame)
            except FRAME_ERRORS as error:
                self._statistics.note_rejection(str(error))
                self._complaints.warn(f'frame rejected: {error}')
            except Exception as error:  # a bug or a full GPU must not end the stream, and is said aloud
                self._statistics.note_rejection(f'{type(error).__name__}: {error}', failed=True)
                self._complaints.error(f'frame failed: {traceback.format_exc()}')

    def _process(self, frame: _Frame) -> None:
        if not self._enabled:
            self._statistics.note_skipped()
            return
        settings, message = self._settings, frame.message
        image = compressed_to_rgb(message) if isinstance(message, CompressedImage) else to_rgb(message)
        wanted = self._outputs.wanted()
        if not wanted:
            self._warm_up(image)
            self._statistics.note_skipped()
            return
        self._aligner.expect(stamp_ns(message))
        prediction = self._estimator(image, at_network_size=settings.output_size == 'network')
        camera = self._find_camera(message, image.shape[:2], prediction.values.shape)
        depth = self._metres(message, prediction)
        possible = _possible(wanted, prediction, depth, camera)
        if not possible:
            self._statistics.note_withheld()
            return
        if outputs.RELATIVE in possible:
            self._outputs.publish_image(outputs.RELATIVE, message.header, prediction.values, '32FC1')
        if outputs.COLOR in possible:
            self._outputs.publish_color(message.header, prediction.nearness, settings.colormap)
        if possible & outputs.METRES:
            self._publish_metres(message, depth, camera, image, possible)
        age_ns = self.get_clock().now().nanoseconds - stamp_ns(message)
        self._statistics.note_output(age_ns / 1e9, monotonic() - frame.arrived)

    def _warm_up(self, image: np.ndarray) -> None:
        """Compile for this size while nobody waits, so that the first subscriber does not."""
        size = image.shape[:2]
        if size not in self._warm:
            self._warm.add(size)
            self._estimator(image)

    def _metres(self, message: Image | CompressedImage, prediction: Prediction) -> np.ndarray | None:
        """Depth in metres with REP 117's marks, or None while nothing says how large the world is."""
        settings = self._settings
        if prediction.kind == 'depth':
            depth = prediction.values
        else:
            alignment = self._aligner.update(stamp_ns(message), prediction.values)
            if alignment is None:
                return None
            depth = alignment.depth(prediction.values)
        return mark_depth(depth, settings.range_min_m, settings.range_max_m, edge_threshold=settings.edge_threshold)

    def _find_camera(self, message, image_size: tuple[int, int], depth_size: tuple[int, int]) -> Camera | None:
        try:
            camera = self._cameras.find(message.header, image_size, depth_size, exact=self._settings.exact_sync)
        except CameraInfoError as error:
            self._camera_problem = str(error)
            self._complaints.warn(f'no cloud: {error}')
            return None
        self._camera_problem = ''
        return camera

    def _publish_metres(
        self,
        message: Image | CompressedImage,
        depth: np.ndarray,
        camera: Camera | None,
        image: np.ndarray,
        possible: set[str],
    ) -> None:
        header = message.header
        if outputs.DEPTH in possible:
            rectified = camera.rectifier(depth) if camera and camera.rectifier else depth
            self._outputs.publish_image(outputs.DEPTH, header, rectified, '32FC1')
        if outputs.DEPTH_INFO in possible:
            self._outputs.publish_info(header, camera.info)
        if outputs.MILLIMETRES in possible:
            self._outputs.publish_millimetres(header, depth)
        if outputs.POINTS in possible:
            self._outputs.publish_points(header, self._cloud(depth, camera, image))

    def _cloud(self, depth: np.ndarray, camera: Camera, image: np.ndarray) -> PointCloud:
        settings = self._settings
        rgb = None
        if settings.points_color:
            # At network size the colours follow the depth.
            rgb = image if image.shape[:2] == depth.shape else cv2.resize(image, depth.shape[::-1])
        return point_cloud(
            depth,
            camera.model,
            rgb,
            stride=settings.points_stride,
            voxel_m=settings.points_voxel_m,
            organized=settings.points_organized,
        )

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = str(self._estimator.device) if self._estimator else 'none'
        name = self.get_fully_qualified_name().lstrip('/')
        message.status = [
            self._statistics.status(
                f'{name}: frames', active=self._slot is not None, enabled=self._enabled, hardware_id=hardware
            ),
            self._model_status(f'{name}: model', hardware),
            self._alignment_status(f'{name}: alignment', hardware),
            self._camera_status(f'{name}: camera', hardware),
        ]
        self._diagnostics.publish(message)

    def _model_status(self, name: str, hardware: str) -> DiagnosticStatus:
        estimator = self._estimator
        if estimator is None:
            return make_status(name, DiagnosticStatus.WARN, 'no model: not configured', {}, hardware)
        source = estimator.source
        values = {
            'model': source.name,
            'checkpoint': str(source.checkpoint or 'none'),
            'licence': source.licence or 'none',
            'predicts': estimator.kind,
            'device': str(estimator.device),
            'backend': estimator.backend,
            'precision': estimator.precision,
            'input_size': str(estimator.input_size),
        }
        if not source.trained:
            text = f'{source.name} is not trained: its depth means nothing'
            return make_status(name, DiagnosticStatus.WARN, text, values, hardware)
        return make_status(name, DiagnosticStatus.OK, source.name, values, hardware)

    def _alignment_status(self, name: str, hardware: str) -> DiagnosticStatus:
        source = self._settings.alignment_source
        values = {'source': source}
        if self._estimator is not None and self._estimator.kind == 'depth':
            text = 'the model predicts metres: not used'
            return make_status(name, DiagnosticStatus.OK, text, values, hardware)
        state = self._aligner.state
        values |= {
            'fits': str(state.fits),
            'refused': str(state.refused),
            'unmatched in time': str(state.unmatched),
            'last problem': state.problem or 'none',
        }
        current = state.current
        if current is None:
            text = f'no metres: {state.problem or "no frame yet"}'
            level = DiagnosticStatus.OK if source == 'none' else DiagnosticStatus.ERROR
            return make_status(name, level, text, values, hardware)
        values |= {
            'scale 1/m': f'{current.scale:.6g}',
            'shift 1/m': f'{current.shift:.6g}',
            'rmse 1/m': f'{current.rmse:.4g}',
            'relative rmse': f'{current.relative_rmse:.4f}',
            'explained': f'{current.explained:.3f}',
            'inliers': f'{current.inliers} of {current.samples}',
            'age s': 'constant' if state.age_s is None else f'{state.age_s:.3f}',
        }
        level = DiagnosticStatus.WARN if state.problem else DiagnosticStatus.OK
        return make_status(name, level, state.problem or 'aligned', values, hardware)

    def _camera_status(self, name: str, hardware: str) -> DiagnosticStatus:
        if self._cameras is None:
            return make_status(name, DiagnosticStatus.OK, 'not active', {}, hardware)
        values = {'projection': 'P, rectified' if self._cameras.rectified else 'K and D, raw'}
        if self._camera_problem:
            text = f'no cloud: {self._camera_problem}'
            return make_status(name, DiagnosticStatus.WARN, text, values, hardware)
        return make_status(name, DiagnosticStatus.OK, 'calibrated', values, hardware)


def _possible(wanted: set[str], prediction: Prediction, depth: np.ndarray | None, camera: Camera | None) -> set[str]:
    """What of the wanted topics this frame can serve."""
    missing = set()
    if prediction.kind == 'depth':
        missing.add(outputs.RELATIVE)
    if depth is None:
        missing |= outputs.METRES
    if camera is None:
        missing |= {outputs.DEPTH_INFO, outputs.POINTS}
    return wanted - missing


def _make_aligner(settings: Settings) -> Aligner:
    sources = {
        'none': NoSource,
        'fixed': lambda: FixedSource(settings.alignment_scale, settings.alignment_shift),
        'depth': lambda: DepthSource(settings.alignment_max_samples),
    }
    source: AlignmentSource = sources[settings.alignment_source]()
    return Aligner(
        source,
        max_age_s=settings.alignment_max_age_s,
        max_time_difference_s=settings.alignment_max_time_difference_s,
        min_samples=settings.alignment_min_samples,
        min_explained=settings.alignment_min_explained,
    )
