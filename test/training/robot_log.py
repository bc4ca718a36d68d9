"""A robot's log as a bag, and how it is retrained on in seconds."""

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from training.stages import ingest, label, retrain, student

TYPES = get_typestore(Stores.LATEST)
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 500_000_000
FRAMES, HEIGHT, WIDTH = 44, 96, 128


def seen(index):
    """A floor that rises towards the camera under blocks, and its depth in metres."""
    rng = np.random.default_rng(index)
    image = np.repeat(np.repeat(rng.integers(40, 215, (12, 16, 3), np.uint8), 8, 0), 8, 1)
    depth = np.linspace(6.0, 1.0, HEIGHT)[:, None] * np.ones((1, WIDTH)) * rng.uniform(0.8, 1.2)
    return image, depth


def header(index):
    stamp = TYPES.types['builtin_interfaces/msg/Time'](*divmod(START_NS + index * PERIOD_NS, 10**9))
    return TYPES.types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')


def messages(compressed, with_depth):
    image_message, info = TYPES.types['sensor_msgs/msg/Image'], TYPES.types['sensor_msgs/msg/CameraInfo']
    roi = TYPES.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    k = np.array([90.0, 0, WIDTH / 2, 0, 90.0, HEIGHT / 2, 0, 0, 1])
    p = np.hstack([k.reshape(3, 3), np.zeros((3, 1))]).ravel()
    for index in range(FRAMES):
        image, depth = seen(index)
        one = header(index)
        yield (
            index,
            '/camera_info',
            info(one, HEIGHT, WIDTH, 'plumb_bob', np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi),
        )
        if compressed:
            data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].ravel()
            yield index, '/image/compressed', TYPES.types['sensor_msgs/msg/CompressedImage'](one, 'jpeg', data)
        else:
            yield index, '/image', image_message(one, HEIGHT, WIDTH, 'rgb8', 0, WIDTH * 3, image.ravel())
        if with_depth:
            data = np.frombuffer((depth * 1000).astype(np.uint16).tobytes(), np.uint8)
            yield index, '/depth', image_message(one, HEIGHT, WIDTH, '16UC1', 0, 2 * WIDTH, data)


def record(path, plugin=StoragePlugin.SQLITE3, compressed=False, with_depth=True):
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for index, topic, message in messages(compressed, with_depth):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], START_NS + index * PERIOD_NS, TYPES.serialize_cdr(message, kind))
    return path


def settings_of(bag, output, networks, depth_topics=('/depth',), **changes):
    return retrain.Settings(
        bags=[str(bag)],
        output=str(output),
        input_size=64,
        pictures=1,
        ingest=ingest.Settings(
            held_out_fraction=0.3,
            held_out_block_s=3.0,
            held_out_gap_s=0.4,
            shard_size=8,
            max_saturated=1.0,
            min_sharpness=0.0,
            depth_topics=list(depth_topics),
        ),
        label=label.Settings(
            str(networks / 'teacher.safetensors'), input_size=64, workers=0, device='cpu', precision='fp32'
        ),
        student=student.Settings(
            architecture='lite0',
            checkpoint=str(networks / 'old.safetensors'),
            size=[64, 64],
            steps=4,
            batch_size=2,
            encoder_lr=1e-4,
            decoder_lr=1e-3,
            validate_every=2,
            validation_samples=2,
            checkpoint_every=1,
            device='cpu',
            workers=0,
        ),
        **changes,
    )
