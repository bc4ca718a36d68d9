"""Messages of a camera twice a second, by the number of the frame, and bags of them."""

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.LATEST)
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 500_000_000


def time_ns(index):
    return START_NS + round(index * PERIOD_NS)


def header(index, frame='camera'):
    stamp = TYPES.types['builtin_interfaces/msg/Time'](*divmod(time_ns(index), 10**9))
    return TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame)


def raw(index, image):
    return TYPES.types['sensor_msgs/msg/Image'](
        header(index), *image.shape[:2], 'rgb8', 0, image.shape[1] * 3, image.ravel()
    )


def jpeg(index, image):
    data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].ravel()
    return TYPES.types['sensor_msgs/msg/CompressedImage'](header(index), 'jpeg', data)


def depth_image(index, metres, frame='camera'):
    """metres: (H, W)."""
    data = np.frombuffer((metres * 1000).astype(np.uint16).tobytes(), np.uint8)
    return TYPES.types['sensor_msgs/msg/Image'](
        header(index, frame), *metres.shape, '16UC1', 0, 2 * metres.shape[1], data
    )


def camera_info(index, size, k, d=(0.0,) * 5, new_k=None):
    """new_k: of the rectified image, if it is not k."""
    roi = TYPES.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    p = np.hstack([np.reshape(k if new_k is None else new_k, (3, 3)), np.zeros((3, 1))]).ravel()
    return TYPES.types['sensor_msgs/msg/CameraInfo'](
        header(index), *size, 'plumb_bob', np.array(d), np.array(k), np.eye(3).ravel(), p, 0, 0, roi
    )


def point_cloud(index, points, frame):
    """points: (N, 3)."""
    field = TYPES.types['sensor_msgs/msg/PointField']
    fields = [field(name, 4 * place, field.FLOAT32, 1) for place, name in enumerate('xyz')]
    data = np.frombuffer(points.astype('<f4').tobytes(), np.uint8)
    return TYPES.types['sensor_msgs/msg/PointCloud2'](
        header(index, frame), 1, len(points), fields, False, 12, 12 * len(points), data, False
    )


def transforms(index, *links):
    """links: (parent, child, x y z, quaternion x y z w)."""
    vector, quaternion, transform, stamped = (
        TYPES.types[f'geometry_msgs/msg/{name}'] for name in ('Vector3', 'Quaternion', 'Transform', 'TransformStamped')
    )
    return TYPES.types['tf2_msgs/msg/TFMessage'](
        [
            stamped(header(index, parent), child, transform(vector(*place), quaternion(*turn)))
            for parent, child, place, turn in links
        ]
    )


def write_bag(path, messages, plugin=StoragePlugin.SQLITE3):
    """messages: (topic, index, message); the index need not be whole."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, index, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], time_ns(index), TYPES.serialize_cdr(message, kind))
    return path
