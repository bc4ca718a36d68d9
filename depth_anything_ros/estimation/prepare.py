"""The process that fills the cache beside a node: python -m depth_anything_ros.estimation.prepare."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation.backends.selection import make_caching_compiler
from depth_anything_ros.estimation.devices import resolve_target

_NICENESS = 10


def main(argv: list[str]) -> int:
    """Prepare: weights, backend, device, precision, and the four numbers of the shape; errors end it.

    Returns 1 if nothing of it is in the cache, of which the reason is in the log.
    """
    weights, name, device, precision, *sides = argv
    os.nice(_NICENESS)
    # Whoever gave us the weights has agreed to their licence.
    network = checkpoints.load(None, weights, accept_license=True)
    Path(weights).unlink()  # of a parent that is killed nothing large is left
    compiler = make_caching_compiler(name, network, resolve_target(device), precision)
    shape = tuple(map(int, sides))
    compiler.prepare(shape)
    return 0 if compiler.is_prepared(shape) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
