"""depth-anything video: a video in, the same beside its coloured depth out."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.cli.files import depth_path, side_by_side, write_depth
from depth_anything_ros.cli.pipeline import Pipeline
from depth_anything_ros.estimation import PREDICTION_ERRORS
from depth_anything_ros.files import replacing

_logger = logging.getLogger(__name__)

# Of streams that do not say how fast they are.
_DEFAULT_FPS = 30.0


def run(args: Namespace) -> int:
    """Run the command; raises CommandError."""
    _check_paths(args)
    with _capture(args.input) as video:
        frames = _frames(video)
        first = next(frames, None)
        if first is None:
            raise CommandError(f'{args.input}: no frame in it can be decoded')
        pipeline = Pipeline.from_args(args)
        expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = video.get(cv2.CAP_PROP_FPS)
        if not fps > 0.0:
            _logger.warning('%s does not say its frame rate: %g per second assumed', args.input, _DEFAULT_FPS)
            fps = _DEFAULT_FPS
        progress = tqdm(chain([first], frames), total=expected if expected > 0 else None, unit='frame', disable=None)
        with _writer(args.output, fps, first.shape) as write:
            count = 0
            for count, image in enumerate(progress, start=1):
                try:
                    frame = pipeline(image)
                except PREDICTION_ERRORS as error:
                    raise CommandError(f'{args.input}, frame {count - 1}: {error}') from error
                write(side_by_side(image, frame.prediction.nearness, args.colormap))
                if args.depth_dir is not None:
                    path = depth_path(args.depth_dir / f'{count - 1:06d}', args.format)
                    write_depth(path, frame.depth, frame.prediction.values)
    if count < expected:
        _logger.warning('%s: %d of %d frames could be decoded', args.input, count, expected)
    print(f'{count} frames: {args.output}')
    return 0


def _check_paths(args: Namespace) -> None:
    if not args.input.is_file():
        raise CommandError(f'{args.input}: no such file')
    if args.output.suffix.lower() != '.mp4':
        raise UsageError(f'--output {args.output}: expected a name that ends in .mp4')
    if args.output.exists() and args.output.samefile(args.input):
        raise UsageError(f'--output {args.output} is the input')
    if args.overwrite:
        return
    if args.output.exists():
        raise CommandError(f'{args.output} exists already: give --overwrite to replace it')
    if args.depth_dir is not None and args.depth_dir.exists() and any(args.depth_dir.iterdir()):
        raise CommandError(f'{args.depth_dir} is not empty: give --overwrite to write there all the same')


@contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise CommandError(f'{path}: not a video that OpenCV can decode')
        yield video
    finally:
        video.release()


def _frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while (read := video.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


@contextmanager
def _writer(path: Path, fps: float, shape: tuple[int, ...]):
    """Lend a function that adds a picture, twice as wide as the input's shape, to an MP4 file."""
    height, width, count = shape[0], 2 * shape[1], 0

    def write(picture: np.ndarray) -> None:
        nonlocal count
        if picture.shape[:2] != (height, width):  # which OpenCV would leave out
            raise CommandError(
                f'frame {count} is {picture.shape[1] // 2}x{picture.shape[0]}, those before are {width // 2}x{height}: '
                'a video has one size'
            )
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        count += 1

    with replacing(path) as unfinished:
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
        try:
            if not writer.isOpened():
                raise CommandError(f'{path}: this OpenCV cannot write MP4 video of {width}x{height}')
            yield write
        finally:
            writer.release()
        # OpenCV's writer tells nobody of a full disk.
        written = _frame_count(unfinished)
        if written != count:
            raise CommandError(f'{path}: {written} of {count} frames were written: is the disk full?')


def _frame_count(path: Path) -> int:
    video = cv2.VideoCapture(str(path))
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    finally:
        video.release()
