"""How far networks are from the teacher whose labels they are compared with."""

import pytest
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import DepthEstimator
from training.agreement import compare_agreement
from training.data import ShardDataset
from training.errors import TrainingError
from training.initial import initial_network
from training.stages import label


@pytest.fixture
def labelled(small_shards, tmp_path):
    """Images with labels of a network, and that network."""
    teacher = initial_network('lite0', 'random', seed=1)
    checkpoints.save(teacher, tmp_path / 'teacher.safetensors')
    chosen = {'input_size': 64, 'workers': 0, 'device': 'cpu', 'precision': 'fp32'}
    path, output = str(small_shards[0]), str(tmp_path / 'labels')
    label.run(label.Settings(str(tmp_path / 'teacher.safetensors'), shards=path, output=output, **chosen))
    return ShardDataset(path, labels=output), teacher


def estimator(network):
    return DepthEstimator(network, device='cpu', precision='fp32', backend='torch', input_size=64)


def test_the_teacher_agrees_with_itself_and_better_than_a_stranger(labelled):
    dataset, teacher = labelled
    stranger = estimator(initial_network('lite0', 'random', seed=2))
    found = compare_agreement({'old': stranger, 'new': estimator(teacher)}, dataset, 'log')
    assert found.verdict == 'better'
    assert found.second < 0.15 * found.first  # not 0: labels are kept at the network's size
    assert found.images == len(dataset)
    back = compare_agreement({'old': estimator(teacher), 'new': stranger}, dataset, 'log')
    assert back.verdict == 'worse'


def test_a_network_that_gives_nan_is_named(labelled):
    dataset, teacher = labelled
    broken = initial_network('lite0', 'random')
    with torch.no_grad():
        next(broken.parameters()).fill_(float('nan'))
    with pytest.raises(TrainingError, match='new on s000'):
        compare_agreement({'old': estimator(teacher), 'new': estimator(broken)}, dataset, 'log')
