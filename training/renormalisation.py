"""The statistics of activations that a network has lost with a change of its weights.

Where the weights of networks are averaged, what they disagree on cancels: the mean's activations vary less than those
of each network. It is given back, channel by channel, the mean and the deviation that theirs have (Jordan et al.,
REPAIR, arXiv 2211.08403). Where weights are rounded, the means of activations move, and are given back by the biases
alone (Nagel et al., Data-free quantization through weight equalization and bias correction, arXiv 1906.04721).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from depth_anything_ros.estimation.preprocessing import network_size, preprocess
from depth_anything_ros.network import DepthAnything
from training.data.spec import DataSpec, make_dataset
from training.errors import DataError

# (mean, deviation), each (C,), of what a normalisation puts out.
Moments = tuple[Tensor, Tensor]

# Of all data sets together: a channel's moments are of all their pixels, so that more pictures change little.
_PICTURES = 96
# A camera's picture, height and width.
_SHAPE = (480, 640)
# A channel that varies by next to nothing has no ratio to go by.
LARGEST_GAIN = 2.0


def pictures_for(network: DepthAnything, folders: Sequence[str]) -> Tensor:
    """What a network sees of pictures in shards, as many of each folder, spread evenly over it.

    Args:
        network: the network.
        folders: of shards.

    Returns:
        (B, 3, H, W) float32 on the CPU, normalised; each picture stretched to 4:3.

    Raises:
        DataError: a folder has no pictures, or one of them cannot be read.
    """
    size = network_size(*_SHAPE, network.architecture.input_size, network.multiple)
    images = []
    for folder in folders:
        dataset = make_dataset(DataSpec('shards', folder))
        count = min(len(dataset), _PICTURES // len(folders))
        if not count:
            raise DataError(f'{folder} has no pictures')
        chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
        images += [preprocess([dataset[int(index)].image], size, torch.device('cpu')) for index in chosen]
    return torch.cat(images)


def moments(network: DepthAnything, images: Tensor) -> list[Moments]:
    """Of each batch normalisation in the encoder, in the order in which they run.

    Args:
        network: on the CPU.
        images: (B, 3, H, W), normalised.

    Returns:
        One entry for each normalisation.

    Raises:
        DataError: the encoder has none, as those of the ViTs.
    """
    if not _normalisations(network):
        raise DataError(f'{network.architecture.name} has no batch normalisation: there is nothing to renormalise')
    found: list[Moments] = []
    _run(network, images, lambda norm, inputs, output: found.append(_moments(output)))
    return found


def mean_moments(networks: Sequence[Sequence[Moments]]) -> list[Moments]:
    """Of each normalisation, the mean over the networks."""
    return [
        (torch.stack([mean for mean, _ in one]).mean(0), torch.stack([deviation for _, deviation in one]).mean(0))
        for one in zip(*networks, strict=True)
    ]


def renormalise(
    network: DepthAnything, images: Tensor, wanted: Sequence[Moments], largest_gain: float = LARGEST_GAIN
) -> None:
    """Change scale and shift of each batch normalisation, so that on these images it has the moments that are wanted.

    One after another, each with what the changed ones before it give.

    Args:
        network: on the CPU; it is changed.
        images: (B, 3, H, W), normalised.
        wanted: as from `moments`.
        largest_gain: by how much a scale may change at most, either way; 1: the shifts alone.
    """
    remaining = iter(wanted)

    def correct(norm: nn.BatchNorm2d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (mean, deviation), (found_mean, found_deviation) = next(remaining), _moments(output)
        gain = (deviation / found_deviation).nan_to_num(1.0).clamp(1 / largest_gain, largest_gain)
        shift = mean - gain * found_mean
        norm.weight *= gain
        norm.bias.copy_(norm.bias * gain + shift)
        return output * gain[:, None, None] + shift[:, None, None]

    _run(network, images, correct)


def _moments(output: Tensor) -> Moments:
    return output.mean((0, 2, 3)), output.std((0, 2, 3))


def _normalisations(network: DepthAnything) -> list[nn.Module]:
    return [module for module in network.encoder.modules() if isinstance(module, nn.BatchNorm2d)]


def _run(network: DepthAnything, images: Tensor, hook: Callable[..., Tensor | None]) -> None:
    with torch.no_grad(), ExitStack() as hooks:
        for module in _normalisations(network):
            hooks.enter_context(module.register_forward_hook(hook))
        # All at once: what a normalisation corrects is of all the images.
        network.eval().encoder(images)
