"""Small data that trainings are tested with."""

import dataclasses

import numpy as np
import pytest

from depth_anything_ros import checkpoints
from training.data import Sample, ShardWriter
from training.data.shards import encode_label, encode_sample
from training.files import Folder
from training.initial import initial_network


@pytest.fixture(scope='session')
def small_shards(tmp_path_factory):
    """Two folders: 12 images of slanted planes under stripes, with metric depth, in two shards, and their labels."""
    root = tmp_path_factory.mktemp('small')
    shards, labels = ShardWriter(Folder(root / 'shards')), ShardWriter(Folder(root / 'labels'))
    for number in range(2):
        samples = [plane(6 * number + index) for index in range(6)]
        index = shards.write(f'train-{number:06d}', ((one.key, encode_sample(one, suffix='png')) for one in samples))
        labelled = ((one.key, encode_label(1 / one.depth)) for one in samples)
        labels.write(f'train-{number:06d}', labelled, labels_of=index['sha256'])
    return root / 'shards', root / 'labels'


@pytest.fixture(scope='session')
def networks(tmp_path_factory):
    """What the robot has, and the teacher."""
    folder = tmp_path_factory.mktemp('networks')
    for seed, name in enumerate(('old', 'teacher')):
        network = initial_network('lite0', 'random', seed=seed)
        network.source = dataclasses.replace(network.source, trained=True, licence='Apache-2.0')
        checkpoints.save(network, folder / f'{name}.safetensors')
    return folder


def plane(seed):
    """A plane that recedes in a random direction; its texture's stripes narrow with it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:80, 0:112] / 100
    disparity = 0.5 + rng.uniform(-0.3, 0.3) * columns + rng.uniform(0.2, 0.5) * rows
    stripes = np.sin(40 * rng.uniform(0.5, 1.5) * columns / disparity)
    image = 127 + 60 * stripes[..., None] * rng.uniform(0.3, 1, 3) + 60 * (disparity[..., None] - 0.5)
    return Sample(f's{seed:03d}', np.clip(image, 0, 255).astype(np.uint8), depth=(1 / disparity).astype(np.float32))
