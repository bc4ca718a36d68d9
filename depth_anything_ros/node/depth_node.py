"""The ROS 2 node: an image in, depth and a point cloud out."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from depth_anything_ros.alignment import Aligner, View
from depth_anything_ros.geometry import Camera, CameraInfoError, Cameras, mark_depth
from depth_anything_ros.messages import (
    ImageError,
    bridge_report,
    compressed_to_rgb,
    names_rectified_images,
    stamp_ns,
    to_rgb,
)
from depth_anything_ros.node.alignment_topic import AlignmentTopic
from depth_anything_ros.node.diagnostics import AlignmentReport, FrameStatistics, camera_status, model_status
from depth_anything_ros.node.inputs import Subscriptions, image_topics, message_type
from depth_anything_ros.node.latest import Latest
from depth_anything_ros.node.logs import Complaints, RosLogHandler
from depth_anything_ros.node.outputs import Outputs, Products, marked_sigma, topics_with_sigma, without_sigma
from depth_anything_ros.node.parameters import SettingsError
from depth_anything_ros.node.settings import Settings
from depth_anything_ros.node.transforms import TfTransforms

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator, Prediction

# How long a worker may take to finish its frame before we stop waiting for it.
_JOIN_S = 30.0


@dataclass(frozen=True)
class _Frame:
    message: Image | CompressedImage
    arrived: float


class DepthNode(LifecycleNode):
    """Depth Anything on a camera topic.

    Topics, types, QoS and parameters: README.md. The executor's thread only stores what comes; one worker thread does
    the work, one frame at a time.
    """

    def __init__(self, **kwargs) -> None:
        """Declare parameters and diagnostics; raises SettingsError and rclpy's parameter errors."""
        super().__init__('depth_node', **kwargs)
        self._statistics = FrameStatistics()
        self._complaints = Complaints(self.get_logger())
        self._estimator: DepthEstimator | None = None
        self._outputs: Outputs | None = None
        self._alignment_topic: AlignmentTopic | None = None
        self._cameras: Cameras | None = None
        self._camera_problem = 'no frame yet'
        self._sigma_problem = ''
        self._last_frame = 0, ''  # stamp in nanoseconds, frame_id
        self._image_inputs, self._evidence_inputs = Subscriptions(self), Subscriptions(self)
        self._deafness = ''  # why there is no subscription to the evidence
        self._tf = TfTransforms(self)
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
        self._aligner = self._new_aligner()
        self._tf.fixed_frame = self._settings.alignment_fixed_frame
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Not on simulated time: the node must say that it waits for a clock that stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._settings.diagnostics_period_s, self._publish_diagnostics, clock=steady)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/realign', self._on_realign)
        self.create_service(SetBool, '~/hold', self._on_hold)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the topics; FAILURE, with the reason in the log, if there is no model."""
        try:
            self._estimator = self._load_model()
            # Here rather than with the first frame, which would wait for it.
            self.get_logger().debug(str(bridge_report()))
            self._outputs = Outputs(self)
            self._alignment_topic = AlignmentTopic(self)
        except SettingsError as error:  # the user's to mend, so one line and no traceback
            return self._fail(str(error))
        except Exception:  # rclpy would swallow it without a word
            return self._fail(traceback.format_exc())
        # What was learnt of another model's predictions says nothing of this one's.
        self._aligner = self._new_aligner()
        estimator = self._estimator
        self.get_logger().info(
            f'{estimator.source.name} on {estimator.hardware} ({estimator.backend}, {estimator.precision}) '
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
            self._subscribe_images()
            self._subscribe_evidence()
        except Exception:  # as above
            self.get_logger().fatal(traceback.format_exc())
            self._stop()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self._announce_alignment()
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
        self._image_inputs.destroy()
        self._evidence_inputs.destroy()
        self._deafness = ''
        if self._slot is not None and self._worker is not None:
            self._slot.close()
            self._worker.join(_JOIN_S)
            if self._worker.is_alive():
                self.get_logger().error(f'the worker did not finish its frame within {_JOIN_S:g} s')
        self._slot = self._worker = None
        self._tf.close()
        self._announce_alignment()

    def _release(self) -> None:
        for part in (self._outputs, self._alignment_topic):
            if part is not None:
                part.destroy()
        if self._estimator is not None:
            self._estimator.close()
        self._outputs = self._alignment_topic = self._estimator = None
        self._warm.clear()

    # Inputs; all of this on the executor's thread, which only stores what comes

    def _subscribe_images(self) -> None:
        self._image_inputs.destroy()
        settings = self._settings
        image_topic, info_topic = image_topics(self, settings.image_transport)
        named_so = names_rectified_images(self.resolve_topic_name('image'))
        rectified = settings.projection == 'rectified' or (settings.projection == 'auto' and named_so)
        self._cameras = Cameras(info_topic, rectified=rectified)
        kind = CompressedImage if settings.image_transport == 'compressed' else Image
        self._image_inputs.add(kind, image_topic, self._on_image, self._on_lost)
        self._image_inputs.add(CameraInfo, info_topic, self._cameras.add)
        self.get_logger().info(
            f'{"rectified" if rectified else "raw"} images from {image_topic}, calibration from {info_topic}'
        )

    def _subscribe_evidence(self) -> None:
        self._evidence_inputs.destroy()
        source = self._settings.alignment_source
        for topic, kind in self._evidence_topics().items():
            self._evidence_inputs.add(message_type(kind), topic, partial(self._on_evidence, topic))
            self.get_logger().info(f'metres from {self.resolve_topic_name(topic)} ({kind}), alignment.source {source}')

    def _change_evidence(self) -> None:
        """Listen to other topics while running; what hinders that may pass, so it is tried again."""
        try:
            self._subscribe_evidence()
        except Exception as error:  # rclpy has no common class; a topic of this process may still have another type
            self._evidence_inputs.destroy()
            self._deafness = f'cannot listen to {", ".join(self._evidence_topics())}: {error}'
            self._complaints.error(self._deafness)
        else:
            self._deafness = ''

    def _evidence_topics(self) -> dict[str, str]:
        return dict(self._aligner.topics) if self._alignment_is_used() else {}

    def _alignment_is_used(self) -> bool:
        """Whether metres come from the alignment, rather than from a metric model that is believed."""
        relative = self._estimator is None or self._estimator.kind == 'disparity'
        settings = self._settings
        return relative or settings.alignment_correct_metric_model or settings.alignment_source == 'camera'

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._slot is not None:
            lost = self._slot.put(_Frame(message, monotonic()), self._has_evidence)
            self._statistics.note_input(replaced=lost)

    def _has_evidence(self, stored: _Frame, new: _Frame) -> bool:
        """Whether evidence waits for the frame in the slot and not for the new one: then the new one must go."""
        waits = self._aligner.is_waiting_for
        return waits(stamp_ns(stored.message)) and not waits(stamp_ns(new.message))

    def _on_lost(self, event) -> None:
        self._statistics.note_lost(event.total_count_change)

    def _on_evidence(self, topic: str, message: Any) -> None:
        refusal = self._aligner.add_message(topic, message)
        if refusal:
            self._complaints.warn(f'evidence refused: {refusal}')

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    def _on_realign(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._alignment_is_used()
        if response.success:
            self._aligner.realign()
        response.message = 'the alignment is forgotten' if response.success else 'the model predicts metres: not used'
        return response

    def _on_hold(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        refusal = self._aligner.hold(request.data)
        response.success = not refusal
        response.message = refusal or ('held' if request.data else 'released')
        self._announce_alignment()
        return response

    def _on_set_parameters(self, parameters) -> SetParametersResult:
        before, topics = self._settings, self._evidence_topics()
        try:
            after = before.changed({parameter.name: parameter.value for parameter in parameters})
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = after
        self._tf.fixed_frame = after.alignment_fixed_frame
        if after.source is before.source:
            self._aligner.settings = after.aligner_settings
        else:
            self._aligner = self._new_aligner()
        if self._image_inputs:
            if after.projection != before.projection:
                self._subscribe_images()
            if self._evidence_topics() != topics:
                self._change_evidence()
            self._announce_alignment()
        return SetParametersResult(successful=True)

    def _new_aligner(self) -> Aligner:
        return Aligner(self._settings.source, self._settings.aligner_settings)

    # The worker's thread

    def _work(self, slot: Latest[_Frame]) -> None:
        from depth_anything_ros.estimation import PREDICTION_ERRORS  # noqa: PLC0415 - as _load_model

        while (frame := slot.take()) is not None:
            try:
                self._process(frame)
            except (ImageError, *PREDICTION_ERRORS) as error:
                self._statistics.note_rejection(str(error))
                self._complaints.warn(f'frame rejected: {error}')
            except Exception as error:  # a bug or a full GPU must not end the stream, and is said aloud
                self._statistics.note_rejection(f'{type(error).__name__}: {error}', failed=True)
                self._complaints.error(f'frame failed: {traceback.format_exc()}')

    def _process(self, frame: _Frame) -> None:
        if not self._enabled:
            self._statistics.note_skipped()
            return
        settings, aligner, message = self._settings, self._aligner, frame.message
        image = compressed_to_rgb(message) if isinstance(message, CompressedImage) else to_rgb(message)
        wanted = self._outputs.wanted()
        if not wanted and not self._alignment_topic.wanted():
            self._warm_up(image)
            self._statistics.note_skipped()
            return
        stamp = stamp_ns(message)
        aligner.expect(stamp)
        prediction = self._estimator(image, at_network_size=settings.output_size == 'network')
        camera = self._find_camera(message, image.shape[:2], prediction.values.shape)
        aligned = aligner.align(self._view(prediction, camera, message, image))
        depth = aligned.depth
        if depth is not None:
            limits = settings.range_min_m, settings.range_max_m
            depth = mark_depth(depth, *limits, edge_threshold=settings.edge_threshold)
        unsure = wanted & topics_with_sigma(settings) if depth is not None else set()
        sigma = marked_sigma(aligned.sigma(), depth) if unsure else None
        self._sigma_problem = without_sigma(unsure) if unsure and sigma is None else ''
        self._last_frame = stamp, message.header.frame_id
        self._announce_alignment()
        self._complain_of_alignment(aligner)
        relative = prediction.kind == 'disparity'
        made = Products(message.header, image, relative, aligned.disparity, depth, sigma, camera)
        topics = wanted & made.possible(settings)
        if wanted and not topics:
            self._statistics.note_withheld()
            return
        self._outputs.publish(topics, made, settings)
        age_ns = self.get_clock().now().nanoseconds - stamp
        self._statistics.note_output(age_ns / 1e9, monotonic() - frame.arrived)

    def _warm_up(self, image: np.ndarray) -> None:
        """Compile for this size while nobody waits, so that the first subscriber does not."""
        size = image.shape[:2]
        if size not in self._warm:
            self._warm.add(size)
            self._estimator(image)

    def _view(
        self, prediction: Prediction, camera: Camera | None, message: Image | CompressedImage, image: np.ndarray
    ) -> View:
        return View(
            prediction.values,
            prediction.kind,
            stamp_ns(message),
            message.header.frame_id,
            camera.model if camera else None,
            self._settings.fixed_transforms or self._tf,
            prediction.network_size,
            self._estimator.canonical_focal_px,
            image,
        )

    def _find_camera(self, message, image_size: tuple[int, int], depth_size: tuple[int, int]) -> Camera | None:
        try:
            camera = self._cameras.find(message.header, image_size, depth_size, exact=self._settings.exact_sync)
        except CameraInfoError as error:
            self._camera_problem = str(error)
            self._complaints.warn(f'no cloud: {error}')
            return None
        self._camera_problem = ''
        return camera

    # What the node says of itself

    def _announce_alignment(self) -> None:
        if self._alignment_topic is not None and self.context.ok():
            self._alignment_topic.announce(self._alignment_report(), *self._last_frame)

    def _complain_of_alignment(self, aligner: Aligner) -> None:
        problem = aligner.state.problem
        if problem and self._settings.alignment_source != 'none':
            self._complaints.warn(f'alignment: {problem}')

    def _alignment_report(self) -> AlignmentReport:
        state = self._aligner.state
        if self._deafness:
            state = replace(state, problem=self._deafness)
        return AlignmentReport(
            self._settings.alignment_source,
            self._slot is not None,
            self._alignment_is_used(),
            state,
            self._sigma_problem,
        )

    def _publish_diagnostics(self) -> None:
        if self._deafness:
            self._change_evidence()
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = self._estimator.hardware if self._estimator else 'none'
        name = self.get_fully_qualified_name().lstrip('/')
        active = self._slot is not None
        rectified = self._cameras.rectified if self._cameras and active else None
        message.status = [
            self._statistics.status(f'{name}: frames', active=active, enabled=self._enabled, hardware_id=hardware),
            model_status(f'{name}: model', self._estimator, hardware),
            self._alignment_report().status(f'{name}: alignment', hardware),
            camera_status(f'{name}: camera', rectified, self._camera_problem, hardware),
        ]
        self._diagnostics.publish(message)
