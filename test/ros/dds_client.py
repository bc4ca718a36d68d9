"""A camera and a subscriber that know the node by its topics only, and what they send and read."""

import threading
import time
from contextlib import contextmanager

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from depth_anything_ros.messages import fill_image, fill_point_cloud

TIMEOUT_S = 30.0
# Parameters of a node that is quick.
SMALL = {'model': 'untrained-small', 'device': 'cpu', 'precision': 'fp32', 'backend': 'torch', 'input_size': 42}
RELIABLE = QoSProfile(depth=20)


class Client(Node):
    """A foreign client: publishes a camera, keeps what comes back."""

    def __init__(self, image_topic='image', image_type=Image, evidence_type=None, evidence_topic='scale_reference'):
        super().__init__('client')
        self.images = self.create_publisher(image_type, image_topic, RELIABLE)
        # image_transport's rule: beside the image.
        namespace = image_topic.removesuffix('/compressed').rpartition('/')[0]
        self.infos = self.create_publisher(CameraInfo, f'{namespace}/camera_info', RELIABLE)
        if evidence_type is not None:
            self.references = self.create_publisher(evidence_type, evidence_topic, RELIABLE)
        self.received = {}
        self.diagnostics = []
        self.create_subscription(DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)
        self._stamp = 0
        self._lock = threading.Lock()

    def listen(self, topic, kind, qos=RELIABLE):
        messages = self.received.setdefault(topic, [])
        return self.create_subscription(kind, topic, messages.append, qos)

    def next_stamp(self):
        with self._lock:
            self._stamp += 1
        now = self.get_clock().now().to_msg()
        # Unique and recognisable: the sequence number in the nanoseconds.
        now.nanosec = self._stamp
        return now

    def send(self, image, encoding='rgb8', info=None, reference=None, frame_id='camera_optical_frame'):
        """Publish an array or a ready message with its calibration and its evidence; returns the stamp.

        reference: a depth image as an array, or a message, which keeps its frame_id.
        """
        if isinstance(image, np.ndarray):
            array, image = image, Image()
            fill_image(image, array, encoding)
        image.header.stamp = self.next_stamp()
        image.header.frame_id = frame_id
        if info is not None:
            info.header = image.header
            self.infos.publish(info)
        if isinstance(reference, np.ndarray):
            message = Image()
            fill_image(message, reference, '32FC1' if reference.dtype == np.float32 else '16UC1')
            message.header.frame_id = frame_id
            reference = message
        if reference is not None:
            reference.header.stamp = image.header.stamp
            self.references.publish(reference)
        self.images.publish(image)
        return image.header.stamp

    def wait_for(self, condition, what, timeout_s=TIMEOUT_S):
        deadline = time.monotonic() + timeout_s
        while not (result := condition()):
            assert time.monotonic() < deadline, f'no {what} within {timeout_s:g} s; {self.last_status()}'
            time.sleep(0.005)
        return result

    def answer(self, topic, stamp, timeout_s=TIMEOUT_S):
        """The message on the topic with this stamp."""
        return self.wait_for(
            lambda: next((m for m in self.received[topic] if m.header.stamp == stamp), None),
            f'{topic} for frame {stamp.nanosec}',
            timeout_s,
        )

    def call(self, name, kind, **request):
        """The answer of a service."""
        client = self.create_client(kind, name)
        assert client.wait_for_service(TIMEOUT_S), f'no service {name}'
        future = client.call_async(kind.Request(**request))
        self.wait_for(future.done, f'answer of {name}')
        return future.result()

    def status(self, which, timeout_s=TIMEOUT_S):
        """The next diagnostics status with this name's end."""
        seen = len(self.diagnostics)
        array = self.wait_for(lambda: self.diagnostics[seen:], 'diagnostics', timeout_s)[-1]
        return next(status for status in array.status if status.name.endswith(f': {which}'))

    def last_status(self):
        if not self.diagnostics:
            return 'no diagnostics'
        return '; '.join(f'{status.name}: {status.message}' for status in self.diagnostics[-1].status)


@contextmanager
def spinning(*nodes):
    """Each node on an executor and a thread of its own."""
    executors, threads = [], []
    for node in nodes:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        executors.append(executor)
        threads.append(thread)
    try:
        yield
    finally:
        for executor in executors:
            executor.shutdown()
        for thread in threads:
            thread.join()
        for node in nodes:
            node.destroy_node()


def hold_predictions(node, monkeypatch):
    """The node's predictions wait; returns the events that one has begun, and that they may go on."""
    predict, started, go_on = node._estimator.predict, threading.Event(), threading.Event()

    def wait_and_predict(*args, **kwargs):
        started.set()
        assert go_on.wait(20.0)
        return predict(*args, **kwargs)

    monkeypatch.setattr(node._estimator, 'predict', wait_and_predict)
    return started, go_on


def values_of(status):
    return {item.key: item.value for item in status.values}


def depth_of(message):
    assert message.encoding == '32FC1'
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def points_of(message):
    values = np.frombuffer(message.data, np.float32).reshape(-1, message.point_step // 4)
    return values[:, :3]


def camera_info(height=48, width=64, focal=50.0):
    info = CameraInfo(height=height, width=width, distortion_model='plumb_bob')
    cx, cy = (width - 1) / 2.0, (height - 1) / 2.0
    info.d = [0.0] * 5
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def picture(height=48, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def metres_of(disparity):
    """A world of which the network's own disparity is an affine image: 2 to 10 m."""
    return (1.0 / (0.4 * (disparity - disparity.min()) / np.ptp(disparity) + 0.1)).astype(np.float32)


def see(client, image=None):
    """The truth that we make of a picture, and the picture."""
    image = picture() if image is None else image
    return metres_of(depth_of(client.answer('relative/image', client.send(image, info=camera_info())))), image


def seen_points(depth, info):
    """(N, 3) in the optical frame."""
    rows, columns = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]]
    x, y = (columns - info.k[2]) / info.k[0], (rows - info.k[5]) / info.k[4]
    return np.stack([x * depth, y * depth, depth], axis=-1).reshape(-1, 3).astype(np.float32)


def cloud_of(points, frame_id='lidar'):
    message = PointCloud2()
    message.header.frame_id = frame_id
    fill_point_cloud(message, np.ascontiguousarray(points, np.float32), None, PointField)
    return message


def until_metres(client, send, topic='depth/image_rect', tries=10, prefix=''):
    """Send until there are metres; evidence may come after its frame, and holds from the next one on."""
    for _ in range(tries):
        stamp = send()
        client.answer(f'{prefix}depth/image_color', stamp)
        found = [message for message in client.received[f'{prefix}{topic}'] if message.header.stamp == stamp]
        if found:
            return found[0]
    raise AssertionError(f'no metres; {client.last_status()}')
