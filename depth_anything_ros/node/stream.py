"""One camera of the node: its topics, its calibration, its alignment, and the account of its frames."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from depth_anything_ros.alignment import Aligner, View
from depth_anything_ros.alignment.aligner import RESTART_NS
from depth_anything_ros.geometry import Camera, CameraInfoError, Cameras
from depth_anything_ros.messages import ImageError, compressed_to_rgb, names_rectified_images, stamp_ns, to_rgb
from depth_anything_ros.node.alignment_topic import AlignmentTopic
from depth_anything_ros.node.diagnostics import LOSS_ADVICE, AlignmentReport, FrameStatistics, camera_status
from depth_anything_ros.node.inputs import Subscriptions, image_topics, message_type
from depth_anything_ros.node.latest import Latest
from depth_anything_ros.node.logs import Complaints
from depth_anything_ros.node.outputs import Outputs
from depth_anything_ros.node.products import (
    DEPTH,
    MILLIMETRES,
    NOTHING_KNOWN,
    POINTS,
    Fill,
    Products,
    Render,
    make_render,
    topics_with_sigma,
    without_sigma,
)
from depth_anything_ros.node.settings import Settings
from depth_anything_ros.node.transforms import TfTransforms

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator, Prediction


@dataclass(frozen=True)
class Frame:
    """A message of a camera. arrived: when, by monotonic()."""

    message: Image | CompressedImage
    arrived: float


@dataclass(frozen=True)
class Job:
    """A frame in work, and what it is worked on with.

    image: uint8 RGB (H, W, 3). wanted: the topics that somebody subscribes to. idle: nobody asks for anything.
    """

    stream: Stream
    frame: Frame
    image: np.ndarray
    settings: Settings
    aligner: Aligner
    wanted: set[str]
    idle: bool


class Stream:
    """What the node has for each camera, beside the model that all share.

    name: comes before the camera's topics, services and statuses; empty for the only camera of a node. enabled: whether
    frames are worked on.

    prepare, finish and reject are the worker's; the rest is called on the executor's thread, which only stores what
    comes.
    """

    def __init__(self, node: LifecycleNode, name: str, settings: Settings, tf: TfTransforms) -> None:
        self.enabled = True
        self._node, self._settings, self._tf = node, settings, tf
        self._prefix, self._about = (f'{name}/', f'{name}: ') if name else ('', '')
        self._status_prefix = f'{node.get_fully_qualified_name().lstrip("/")}: {self._about}'
        self._statistics = FrameStatistics()
        self._complaints = Complaints(node.get_logger(), self._about)
        self._model: DepthEstimator | None = None
        self._render: Render | None = None
        self._outputs: Outputs | None = None
        self._alignment_topic: AlignmentTopic | None = None
        self._cameras: Cameras | None = None
        self._calibrated = False  # a frame, since the topics are offered
        self._camera_problem = self._sigma_problem = ''
        self._saw_frame = False  # since it listens
        self._last_frame = 0, ''  # stamp in nanoseconds, frame_id
        self._image_inputs, self._evidence_inputs = Subscriptions(node), Subscriptions(node)
        self._deafness = ''  # why there is no subscription to the evidence
        self._evidence_lost = 0
        self._slot: Latest[Stream, Frame] | None = None
        self._aligner = self._new_aligner()
        node.create_service(Trigger, f'~/{self._prefix}realign', self._on_realign)
        node.create_service(SetBool, f'~/{self._prefix}hold', self._on_hold)

    # What comes and goes with the node's states

    def offer(self, model: DepthEstimator) -> None:
        """Offer the topics that this model can serve; raises rclpy's error for one that cannot be."""
        self._outputs = Outputs(self._node, self._prefix)
        self._alignment_topic = AlignmentTopic(self._node, self._prefix, f'{self._status_prefix}alignment')
        self._model, self._render = model, make_render(model)

    def withdraw(self) -> None:
        """Take the topics back."""
        for part in (self._outputs, self._alignment_topic):
            if part is not None:
                part.destroy()
        self._outputs = self._alignment_topic = self._model = self._render = None
        self._calibrated = False
        # What it learnt is of this model's predictions, and the frames that it remembers are in the GPU's memory.
        self._renew_aligner('the model is given back')

    def listen(self, slot: Latest[Stream, Frame]) -> None:
        """Put the frames that come into the slot; raises rclpy's error for a topic that cannot be listened to."""
        self._slot, self._saw_frame, self._sigma_problem = slot, False, ''
        self._statistics.restart()
        self._subscribe_images()
        self._subscribe_evidence()

    def stop_listening(self) -> None:
        """Take no more frames; one may still be in work."""
        self._image_inputs.destroy()
        self._evidence_inputs.destroy()
        self._deafness = ''

    def rest(self) -> None:
        """Nothing is in work any more: say so."""
        self._slot = None
        self.announce_alignment()

    def change(self, settings: Settings) -> None:
        """Go on with other settings."""
        before, topics = self._settings, self._evidence_topics()
        self._settings = settings
        # What was fitted with another pose of the sensor, or other rays, is of no use.
        geometry, geometry_before = ((item.alignment_extrinsics, item.projection) for item in (settings, before))
        if settings.source is before.source and geometry == geometry_before:
            self._aligner.settings = settings.aligner_settings
        else:
            self._renew_aligner('projection, alignment.extrinsics, alignment.source or one of its parameters changed')
        if self._image_inputs:
            if settings.projection != before.projection:
                self._subscribe_images()
            if self._evidence_topics() != topics:
                self._change_evidence()
            self.announce_alignment()

    def _renew_aligner(self, reason: str) -> None:
        if self._aligner.state.held:
            self._node.get_logger().warning(f'{self._about}the hold is released: {reason}')
        self._aligner = self._new_aligner()

    def _new_aligner(self) -> Aligner:
        # A source of its own, since what other packages install may remember something.
        return Aligner(replace(self._settings.source), self._settings.aligner_settings)

    # Inputs

    def _subscribe_images(self) -> None:
        self._image_inputs.destroy()
        settings = self._settings
        image_topic, base_topic, info_topic = image_topics(self._node, settings.image_transport, self._prefix)
        named_so = names_rectified_images(base_topic)
        rectified = settings.projection == 'rectified' or (settings.projection == 'auto' and named_so)
        self._cameras = Cameras(info_topic, rectified=rectified)
        kind = CompressedImage if settings.image_transport == 'compressed' else Image
        self._image_inputs.add(kind, image_topic, self._on_image, self._on_lost)
        self._image_inputs.add(CameraInfo, info_topic, self._cameras.add)
        described = 'rectified' if rectified else 'raw'
        self._node.get_logger().info(
            f'{self._about}{described} images from {image_topic}, calibration from {info_topic}'
        )

    def _subscribe_evidence(self) -> None:
        self._evidence_inputs.destroy()
        self._evidence_lost = 0
        for name, kind in self._evidence_topics().items():
            topic = self._named(name)
            self._evidence_inputs.add(
                message_type(kind), topic, partial(self._on_evidence, name), self._on_evidence_lost
            )
            self._node.get_logger().info(
                f'{self._about}metres from {self._node.resolve_topic_name(topic)} ({kind}), '
                f'alignment.source {self._settings.alignment_source}'
            )

    def listen_again(self) -> None:
        """Try again what could not be listened to."""
        if self._deafness:
            self._change_evidence()

    def _change_evidence(self) -> None:
        """Listen to other topics while running; what hinders that may pass, so it is tried again."""
        try:
            self._subscribe_evidence()
        except Exception as error:  # rclpy has no common class; a topic of this process may still have another type
            self._evidence_inputs.destroy()
            self._deafness = f'cannot listen to {", ".join(map(self._named, self._evidence_topics()))}: {error}'
            self._complaints.error(self._deafness)
        else:
            self._deafness = ''

    def _evidence_topics(self) -> dict[str, str]:
        """Message type by topic, as the source calls it."""
        return dict(self._aligner.topics) if self._alignment_is_used() else {}

    def _named(self, topic: str) -> str:
        """A source's topic as this camera's, unless it is one for the whole robot or node."""
        return topic if topic.startswith(('/', '~')) else f'{self._prefix}{topic}'

    def _alignment_is_used(self) -> bool:
        """Whether metres come from the alignment, rather than from a metric model that is believed."""
        relative = self._model is None or self._model.kind == 'disparity'
        settings = self._settings
        return relative or settings.alignment_correct_metric_model or settings.alignment_source == 'camera'

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._slot is not None:
            lost = self._slot.put(self, Frame(message, monotonic()), self._has_evidence)
            self._statistics.note_input(replaced=lost)

    def _has_evidence(self, stored: Frame, new: Frame) -> bool:
        """Whether evidence waits for the frame in the slot and not for the new one: then the new one must go."""
        waits = self._aligner.is_waiting_for
        return waits(stamp_ns(stored.message)) and not waits(stamp_ns(new.message))

    def _on_lost(self, event) -> None:
        self._statistics.note_lost(event.total_count_change)

    def _on_evidence(self, topic: str, message: Any) -> None:
        refusal = self._aligner.add_message(topic, message)
        if refusal:
            self._complaints.warn(f'evidence refused: {refusal}')

    def _on_evidence_lost(self, event) -> None:
        self._evidence_lost += event.total_count_change
        self._complaints.warn(f'evidence is lost in transport: {LOSS_ADVICE}')

    def _on_realign(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._alignment_is_used()
        if response.success:
            self._aligner.realign()
            self.announce_alignment()
        response.message = 'the alignment is forgotten' if response.success else 'the model predicts metres: not used'
        return response

    def _on_hold(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        is_new = request.data and not self._aligner.state.held
        if is_new and (self._slot is None or not self._saw_frame):  # what held before is of another time
            refusal = 'no frame has come since the node was activated: there is no alignment to hold'
        else:
            refusal = self._aligner.hold(request.data)
        response.success = not refusal
        response.message = refusal or ('held' if request.data else 'released')
        self.announce_alignment()
        return response

    # A frame, on the worker's thread

    def prepare(self, frame: Frame) -> Job | None:
        """Decode a frame that is to be predicted; None if it is not. Raises ImageError."""
        if not self.enabled:
            self.skip()
            return None
        settings, aligner, message = self._settings, self._aligner, frame.message
        image = compressed_to_rgb(message) if isinstance(message, CompressedImage) else to_rgb(message)
        wanted = self._outputs.wanted()
        idle = not wanted and not self._alignment_topic.wanted()
        if not idle:
            aligner.expect(stamp_ns(message), frame.arrived)
        return Job(self, frame, image, settings, aligner, wanted, idle)

    def finish(self, job: Job, prediction: Prediction | None) -> None:
        """Make metres of the prediction and publish; None: nobody wanted it."""
        if prediction is None:
            self.skip()
            return
        settings, message = job.settings, job.frame.message
        stamp = stamp_ns(message)
        if stamp < self._last_frame[0] - RESTART_NS:
            self._tf.restart()
        camera = self._find_camera(job, prediction)
        aligned = job.aligner.align(self._view(job, prediction, camera))
        is_unsure = aligned.is_metric and not aligned.knows_sigma
        unsure = job.wanted & topics_with_sigma(settings) if is_unsure else set()
        self._sigma_problem = without_sigma(unsure) if unsure else ''
        self._last_frame, self._saw_frame = (stamp, message.header.frame_id), True
        self.announce_alignment()
        self._complain_of_alignment(job.aligner)
        unrectified = camera is None and self._must_rectify(settings)
        made = Products(job.image, prediction, aligned, camera, settings, unrectified)
        sent = self._publish(job, made)
        if job.wanted and not sent:
            self._statistics.note_withheld()
            return
        age_ns = self._node.get_clock().now().nanoseconds - stamp
        self._statistics.note_output(age_ns / 1e9, monotonic() - job.frame.arrived)

    def _publish(self, job: Job, made: Products) -> set[str]:
        """Publish what is wanted and can be had; returns the topics."""
        camera, topics, sent = made.camera, job.wanted & made.possible(), set()
        if topics or not job.wanted:
            contents = _noted(self._render(made, topics), sent)
            self._outputs.publish(job.frame.message.header, contents, camera.info if camera else None)
        if camera is not None:
            self._camera_problem = NOTHING_KNOWN if POINTS in topics - sent else ''
            if self._camera_problem:
                self._complaints.warn(self._camera_problem)
        return sent

    def skip(self) -> None:
        """Count a frame that nobody works on."""
        self._statistics.note_skipped()

    def reject(self, error: Exception) -> None:
        """Count and tell what hindered a frame: its own fault, or, with the place in the code, ours."""
        # Not at the top, as in DepthNode: it imports torch.
        from depth_anything_ros.estimation import PREDICTION_ERRORS  # noqa: PLC0415

        if isinstance(error, (ImageError, *PREDICTION_ERRORS)):
            self._statistics.note_rejection(str(error))
            self._complaints.warn(f'frame rejected: {error}')
        else:
            self._statistics.note_rejection(f'{type(error).__name__}: {error}', failed=True)
            self._complaints.error(f'frame failed: {"".join(traceback.format_exception(error))}')

    def _view(self, job: Job, prediction: Prediction, camera: Camera | None) -> View:
        message = job.frame.message
        return View(
            prediction.values,
            prediction.kind,
            stamp_ns(message),
            message.header.frame_id,
            camera.model if camera else None,
            job.settings.fixed_transforms or self._tf,
            prediction.network_size,
            self._model.canonical_focal_px,
            job.image,
            self._model.max_depth_m,
            image_size=job.image.shape[:2],
        )

    def _find_camera(self, job: Job, prediction: Prediction) -> Camera | None:
        header, sizes = job.frame.message.header, (job.image.shape[:2], prediction.values.shape)
        try:
            camera = self._cameras.find(header, *sizes, exact=job.settings.exact_sync)
        except CameraInfoError as error:
            lost = f'no cloud, no {DEPTH} or {MILLIMETRES}' if self._must_rectify(job.settings) else 'no cloud'
            self._camera_problem = f'{lost}: {error}'
            self._complaints.warn(self._camera_problem)
            return None
        self._calibrated = True
        return camera

    def _must_rectify(self, settings: Settings) -> bool:
        """Whether depth of an image without a CameraInfo would be in another geometry than that of the others."""
        # A camera that was never calibrated has them all in one geometry.
        calibrated = self._calibrated or (settings.exact_sync and self._cameras.heard)
        return calibrated and not self._cameras.rectified

    # What is said of the camera

    def announce_alignment(self) -> None:
        """Say on the topic `alignment` what holds now, if that is new."""
        if self._alignment_topic is not None and self._node.context.ok():
            self._alignment_topic.announce(self._alignment_report(), *self._last_frame)

    def frames_status(self, hardware_id: str) -> DiagnosticStatus:
        """Rate, latency and counts of the frames."""
        unheard = self._outputs.unheard() if self._outputs else []
        for problem in unheard:
            self._complaints.warn(problem)
        return self._statistics.status(
            f'{self._status_prefix}frames',
            active=self._slot is not None,
            enabled=self.enabled,
            unheard=unheard,
            hardware_id=hardware_id,
        )

    def alignment_status(self, hardware_id: str) -> DiagnosticStatus:
        """Whether there are metres, and why not."""
        report = replace(self._alignment_report(), idle=self._is_idle() and not self._deafness)
        return report.status(f'{self._status_prefix}alignment', hardware_id)

    def camera_status(self, hardware_id: str) -> DiagnosticStatus:
        """How the images are projected, and why there is no cloud, if so."""
        rectified = self._cameras.rectified if self._cameras and self._slot is not None else None
        problem = self._camera_problem if self._saw_frame else 'no cloud: no frame yet'
        name = f'{self._status_prefix}camera'
        return camera_status(name, rectified, problem, idle=self._is_idle(), hardware_id=hardware_id)

    def _is_idle(self) -> bool:
        """Whether the topics are offered and nobody subscribes to one."""
        return self._outputs is not None and not self._outputs.wanted() and not self._alignment_topic.wanted()

    def _complain_of_alignment(self, aligner: Aligner) -> None:
        problem = aligner.state.problem
        if problem and self._settings.alignment_source != 'none':
            self._complaints.warn(f'alignment: {problem}')

    def _alignment_report(self) -> AlignmentReport:
        state = self._aligner.state
        if not self._saw_frame:  # what held before is of another time
            state = replace(state, current=None, problem='no frame yet')
        elif stillness := self._aligner.stillness():
            state = replace(state, current=None, problem=stillness)
        if self._deafness:
            state = replace(state, problem=self._deafness)
        elif self._evidence_lost and state.current is None:
            lost = f'{self._evidence_lost} messages of evidence were lost in transport: {LOSS_ADVICE}'
            state = replace(state, problem=f'{state.problem or "no evidence yet"}; {lost}')
        return AlignmentReport(
            self._settings.alignment_source,
            self._slot is not None,
            self._alignment_is_used(),
            state,
            self._sigma_problem,
            enabled=self.enabled,
        )


def _noted(contents: Iterable[tuple[str, Fill]], names: set[str]) -> Iterator[tuple[str, Fill]]:
    """The contents as they come, with their names put into names."""
    for name, fill in contents:
        names.add(name)
        yield name, fill
