"""`python -m training.builtin NETWORK FILE`: a trained network as the built-in model's file, in half the bytes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.network import WeightSource
from training.errors import TrainingError
from training.initial import trained_network


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, print its size and digest, and return the exit code, as of depth-anything-train."""
    parser = argparse.ArgumentParser(prog='python -m training.builtin', description=__doc__)
    parser.add_argument('network', help='model.safetensors of a training')
    parser.add_argument('file', type=Path, help='to write, .safetensors')
    args = parser.parse_args(argv)
    try:
        network = trained_network(args.network)
        checkpoints.save(network, args.file, torch.float16)
    except (TrainingError, OSError, ValueError) as error:
        print(f'builtin: {error}', file=sys.stderr)
        return getattr(error, 'exit_code', 1)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    digest = WeightSource(network.architecture.name, trained=True, checkpoint=args.file).sha256
    size = args.file.stat().st_size
    print(f'{args.file}: {network.architecture.name}, {parameters:,} parameters, {size:,} bytes, sha256 {digest}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
