"""Files that are whole or not there, and the files that come with the package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a name beside `path` for writing; what is there at the end takes the place of `path`, in one step.

    After an exception nothing is left of it. The suffix stays: encoders choose the format by it. Missing folders are
    made. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def share_files(name: str) -> list[Path]:
    """Where share/depth_anything_ros/`name` may be, the first that exists being the one to take.

    That is the source tree, if this is one, and where colcon or pip has installed it.
    """
    prefixes = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)), sys.prefix]
    installed = [Path(prefix) / 'share' / 'depth_anything_ros' / name for prefix in prefixes]
    return [Path(__file__).parents[1] / name, *installed]
