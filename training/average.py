"""`python -m training.average FILE NETWORK NETWORK ...`: the mean of the weights of networks that come of one another.

Of a network and of what it became by going on with other data, the mean of the weights can be better than both
(Wortsman et al., Model soups, arXiv 2203.05482; Robust fine-tuning of zero-shot models, arXiv 2109.01903).
With `--pictures` it also gets back the spread of activations that averaging takes away (training.renormalisation).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.network import DepthAnything
from training.errors import DataError, TrainingError
from training.initial import initial_network, trained_network
from training.renormalisation import mean_moments, moments, pictures_for, renormalise


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, and return the exit code, as of depth-anything-train."""
    parser = argparse.ArgumentParser(prog='python -m training.average', description=__doc__)
    parser.add_argument(
        '--architecture',
        default='',
        help='which network the mean is of; blocks that it does without are left out first',
    )
    parser.add_argument(
        '--pictures',
        action='append',
        default=[],
        metavar='SHARDS',
        help='folder of pictures, on which the mean gets the mean and deviation that the networks have in each channel '
        'of the encoder; more than once: as many of each',
    )
    parser.add_argument(
        '--accept-license',
        action='store_true',
        help="agree to a licence that forbids commercial use: it is the mean's too",
    )
    parser.add_argument('file', type=Path, help='to write, .safetensors')
    parser.add_argument('networks', nargs='+', metavar='network', help='model.safetensors of a training')
    args = parser.parse_args(argv)
    try:
        networks = [_network(path, args.architecture, args.accept_license) for path in args.networks]
        checkpoints.save(average(networks, args.pictures), args.file)
    except (TrainingError, OSError, ValueError) as error:
        print(f'average: {error}', file=sys.stderr)
        return getattr(error, 'exit_code', 1)
    return 0


def _network(path: str, architecture: str, accept_license: bool) -> DepthAnything:
    network = trained_network(path, accept_license=accept_license)
    if not architecture:
        return network
    found = network.architecture
    network = initial_network(architecture, checkpoint=path, max_depth=found.max_depth, accept_license=accept_license)
    # A metric network's metres are of the focal length that it was trained for.
    if network.architecture.canonical_focal_px != found.canonical_focal_px:
        raise DataError(
            f'{path} is of {found.name}, whose metres are of another focal length than those of {architecture}'
        )
    return network


def average(networks: Sequence[DepthAnything], pictures: Sequence[str] = ()) -> DepthAnything:
    """The first network, with the mean of all their weights.

    Args:
        networks: on the CPU; the first one is changed.
        pictures: folders of shards, to renormalise the mean on; none: the mean as it is.

    Returns:
        The first network.

    Raises:
        DataError: they do not go together, or there is nothing to renormalise, or no picture to do it on.
    """
    for what, values in (
        ('networks', {network.architecture.name for network in networks}),
        # Beside the name: what it puts out and at which size, which a training may change.
        ('networks', {repr(network.architecture) for network in networks}),
        ('licences', {network.source.licence for network in networks}),
    ):
        if len(values) > 1:
            raise DataError(f'there is no mean of {" and ".join(sorted(map(str, values)))}: they are different {what}')
    if not pictures:
        return _mean(networks)
    images = pictures_for(networks[0], pictures)
    # Before the first network is the mean.
    found = [moments(network, images) for network in networks]
    mean = _mean(networks)
    renormalise(mean, images, mean_moments(found))
    return mean


def _mean(networks: Sequence[DepthAnything]) -> DepthAnything:
    """The first network, which becomes the mean; its statistics are as they come."""
    mean = networks[0]
    states = [network.state_dict() for network in networks]
    with torch.no_grad():
        for name, value in mean.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name] for state in states]).mean(0))
    return mean


if __name__ == '__main__':
    sys.exit(main())
