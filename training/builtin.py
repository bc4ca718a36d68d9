"""`python -m training.builtin NETWORK FILE`: a trained network as the built-in model's file, in half the bytes.

Its convolutions have weights that bfloat16 can hold: what runs in bf16 rounds none of them, and is three times nearer
to float32 on dark images, where the first layers see small differences of large values. Its disparities, which have no
unit, are brought near 1: the loss does not care if a training takes them to tens of thousands, float16 does. With
`--pictures` the biases make up for what rounding the encoder's weights adds to each channel (training.renormalisation).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from depth_anything_ros import checkpoints
from depth_anything_ros.benchmark.picture import made_up_picture
from depth_anything_ros.estimation.preprocessing import network_size, preprocess
from depth_anything_ros.network import DepthAnything, WeightSource
from training.errors import TrainingError
from training.initial import trained_network
from training.renormalisation import moments, pictures_for, renormalise


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, print its size and digest, and return the exit code, as of depth-anything-train."""
    parser = argparse.ArgumentParser(prog='python -m training.builtin', description=__doc__)
    parser.add_argument(
        '--pictures',
        action='append',
        default=[],
        metavar='SHARDS',
        help='folder of pictures, on which each channel of the encoder keeps its mean; more than once: as many of each',
    )
    parser.add_argument(
        '--accept-license',
        action='store_true',
        help="agree to a licence that forbids commercial use: it is the file's too",
    )
    parser.add_argument('network', help='model.safetensors of a training')
    parser.add_argument('file', type=Path, help='to write, .safetensors')
    args = parser.parse_args(argv)
    try:
        network = trained_network(args.network, accept_license=args.accept_license)
        fold_normalisation(network.encoder)
        bring_near_one(network)
        if args.pictures:
            images = pictures_for(network, args.pictures)
            wanted = moments(network, images)
            round_to_bf16(network)
            # The shifts alone: with another scale the weights would not be such that bf16 holds them.
            renormalise(network, images, wanted, largest_gain=1.0)
        else:
            round_to_bf16(network)
        checkpoints.save(network, args.file, torch.float16)
    except (TrainingError, OSError, ValueError) as error:
        print(f'builtin: {error}', file=sys.stderr)
        return getattr(error, 'exit_code', 1)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    digest = WeightSource(network.architecture.name, trained=True, checkpoint=args.file).sha256
    size = args.file.stat().st_size
    print(f'{args.file}: {network.architecture.name}, {parameters:,} parameters, {size:,} bytes, sha256 {digest}')
    return 0


def fold_normalisation(encoder: nn.Module) -> None:
    """Move the scale and shift of each batch normalisation into the convolution before it, and into its own bias.

    What is left multiplies by 1, so that the weights that are rounded are those that compute, with or without fusion.
    """
    with torch.no_grad():
        for module in encoder.modules():
            for convolution, norm in pairwise(module.children()):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                    convolution.weight *= scale[:, None, None, None]
                    norm.bias -= norm.running_mean * scale
                    norm.running_mean.zero_()
                    norm.running_var.fill_(1 - norm.eps)
                    norm.weight.fill_(1)


def bring_near_one(network: DepthAnything) -> None:
    """Multiply relative disparities by a power of two, spread over the last three layers, which rounds nothing."""
    if network.architecture.max_depth is not None:
        return
    shape = 256, 320
    size = network_size(*shape, network.architecture.input_size, network.multiple)
    picture = preprocess([made_up_picture(*shape)], size, torch.device('cpu'))
    with torch.inference_mode():
        mean = float(network.eval()(picture).mean())
    if not 0 < mean < math.inf:
        raise ValueError(f'the network gives a mean disparity of {mean} for a picture: it is not trained')
    step = 2.0 ** -round(math.log2(mean) / 3)
    head = network.head
    with torch.no_grad():
        for power, layer in enumerate((head.smooth, head.hidden, head.output), start=1):
            layer.weight *= step
            # All before it has been scaled by then.
            layer.bias *= step**power


def round_to_bf16(network: nn.Module) -> None:
    """Round the weights of all convolutions to what bfloat16 can hold; float16 holds that too."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(module.weight.bfloat16())


if __name__ == '__main__':
    sys.exit(main())
