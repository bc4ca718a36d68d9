"""Messages of a camera twice a second, by the number of the frame, and bags of them."""

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.LATEST)
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 500_000_000


def header(index):
    stamp = TYPES.types['builtin_interfaces/msg/Time'](*divmod(START_NS + index * PERIOD_NS, 10**9))
    return TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')


def raw(index, image):
    return TYPES.types['sensor_msgs/msg/Image'](
        header(index), *image.shape[:2], 'rgb8', 0, image.shape[1] * 3, image.ravel()
    )


def jpeg(index, image):
    data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].ravel()
    return TYPES.types['sensor_msgs/msg/CompressedImage'](header(index), 'jpeg', data)


def depth_image(index, metres):
    """metres: (H, W)."""
    data = np.frombuffer((metres * 1000).astype(np.uint16).tobytes(), np.uint8)
    return TYPES.types['sensor_msgs/msg/Image'](header(index), *metres.shape, '16UC1', 0, 2 * metres.shape[1], data)


def camera_info(index, size, k):
    roi = TYPES.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    p = np.hstack([np.reshape(k, (3, 3)), np.zeros((3, 1))]).ravel()
    return TYPES.types['sensor_msgs/msg/CameraInfo'](
        header(index), *size, 'plumb_bob', np.zeros(5), np.array(k), np.eye(3).ravel(), p, 0, 0, roi
    )


def write_bag(path, messages, plugin=StoragePlugin.SQLITE3):
    """messages: (topic, index, message)."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, index, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], START_NS + index * PERIOD_NS, TYPES.serialize_cdr(message, kind))
    return path
