"""A robot's log as a bag, and how it is retrained on in seconds."""

import numpy as np
from bag_messages import camera_info, depth_image, jpeg, raw, write_bag
from rosbags.rosbag2 import StoragePlugin

from training.stages import ingest, label, retrain, student

FRAMES, HEIGHT, WIDTH = 44, 96, 128


def seen(index):
    """A floor that rises towards the camera under blocks, and its depth in metres."""
    rng = np.random.default_rng(index)
    image = np.repeat(np.repeat(rng.integers(40, 215, (12, 16, 3), np.uint8), 8, 0), 8, 1)
    depth = np.linspace(6.0, 1.0, HEIGHT)[:, None] * np.ones((1, WIDTH)) * rng.uniform(0.8, 1.2)
    return image, depth


def messages(compressed, with_depth, depth_frame):
    k = [90.0, 0.0, WIDTH / 2, 0.0, 90.0, HEIGHT / 2, 0.0, 0.0, 1.0]
    for index in range(FRAMES):
        image, depth = seen(index)
        yield '/camera_info', index, camera_info(index, (HEIGHT, WIDTH), k)
        if compressed:
            yield '/image/compressed', index, jpeg(index, image)
        else:
            yield '/image', index, raw(index, image)
        if with_depth:
            yield '/depth', index, depth_image(index, depth, depth_frame)


def record(path, plugin=StoragePlugin.SQLITE3, compressed=False, with_depth=True, depth_frame='camera'):
    return write_bag(path, messages(compressed, with_depth, depth_frame), plugin)


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
