"""depth-anything image: pictures in; depth, colour pictures and point clouds out."""

from __future__ import annotations

import logging
import math
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import yaml
from tqdm import tqdm

from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.cli.files import (
    UnreadableImageError,
    depth_path,
    read_rgb,
    side_by_side,
    write_depth,
    write_picture,
)
from depth_anything_ros.cli.pipeline import Pipeline
from depth_anything_ros.estimation import PREDICTION_ERRORS
from depth_anything_ros.geometry import CameraInfoError, CameraModel, point_cloud
from depth_anything_ros.geometry.ply import write_ply

_logger = logging.getLogger(__name__)

_SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'}
# The file's own fault: the others are still done.
_IMAGE_ERRORS = (UnreadableImageError, CameraInfoError, *PREDICTION_ERRORS)


class _Job(NamedTuple):
    """A picture, and the path without suffix that its results begin with."""

    source: Path
    stem: Path


def run(args: Namespace) -> int:
    """Run the command; 1 if a picture could not be done, CommandError if none can be."""
    jobs = _plan(args.inputs, args.output)
    if not args.overwrite:
        _refuse_existing(jobs, args.format)
    find_camera = _camera_finder(args)
    pipeline = Pipeline.from_args(args)
    worker = _Worker(pipeline, find_camera, args)
    failed = 0
    for job in tqdm(jobs, unit='image', disable=None):
        try:
            worker(job)
        except _IMAGE_ERRORS as error:
            failed += 1
            named = str(error).startswith(str(job.source))
            _logger.error('%s', error if named else f'{job.source}: {error}')
    print(f'{len(jobs) - failed} of {len(jobs)} images: {args.output}')
    return 1 if failed else 0


class _Worker:
    """Does one picture after another."""

    def __init__(
        self, pipeline: Pipeline, find_camera: Callable[[int, int], CameraModel] | None, args: Namespace
    ) -> None:
        self._pipeline = pipeline
        self._find_camera = find_camera
        self._args = args
        self._warned = False

    def __call__(self, job: _Job) -> None:
        """Predict and write; raises _IMAGE_ERRORS."""
        args = self._args
        image = read_rgb(job.source)
        frame = self._pipeline(image)
        write_depth(depth_path(job.stem, args.format), frame.depth, frame.prediction.values)
        picture = side_by_side(image, frame.prediction.nearness, args.colormap)
        write_picture(_with_ending(job.stem, '_color.png'), picture)
        if self._find_camera is None:
            return
        if frame.depth is None:
            self._warn_no_metres()
            return
        cloud = point_cloud(frame.depth, self._find_camera(*image.shape[:2]), image, args.stride)
        write_ply(_with_ending(job.stem, '.ply'), cloud.points, cloud.colors)

    def _warn_no_metres(self) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(
                'no PLY: %s predicts disparity without metres; give --scale and --shift, or take a metric model',
                self._pipeline.estimator.source.name,
            )


def _plan(inputs: Iterable[Path], output: Path) -> list[_Job]:
    """Say where every result goes; raises CommandError, before any work, where two would meet."""
    jobs: dict[Path, _Job] = {}
    for path in inputs:
        for source, relative in _pictures(path, output):
            job = _Job(source, output / relative.with_suffix(''))
            other = jobs.setdefault(job.stem, job)
            if other.source != source:
                raise UsageError(
                    f'{other.source} and {source} would both be written as {job.stem}_*: run them with two '
                    '--output folders'
                )
    return list(jobs.values())


def _pictures(path: Path, output: Path) -> list[tuple[Path, Path]]:
    """The pictures that an argument means, each with its path relative to the output folder."""
    if not path.is_dir():
        if not path.exists():
            raise CommandError(f'{path}: no such file or folder')
        return [(path, Path(path.name))]
    # What an earlier run wrote into a folder of ours is no input.
    results = output.resolve()
    if results == path.resolve():
        raise UsageError(f'--output {output} is the folder of the pictures: choose another one')
    found = [
        file
        for file in sorted(path.rglob('*'))
        if file.suffix.lower() in _SUFFIXES and file.is_file() and results not in file.resolve().parents
    ]
    if not found:
        raise CommandError(f'{path}: no pictures ({", ".join(sorted(_SUFFIXES))}) in this folder')
    return [(file, file.relative_to(path)) for file in found]


def _refuse_existing(jobs: Iterable[_Job], file_format: str) -> None:
    for job in jobs:
        for path in (depth_path(job.stem, file_format), *(_with_ending(job.stem, e) for e in ('_color.png', '.ply'))):
            if path.exists():
                raise CommandError(f'{path} exists already: give --overwrite to replace it')


def _camera_finder(args: Namespace) -> Callable[[int, int], CameraModel] | None:
    """What makes the camera for a picture's height and width, None if nothing describes it."""
    if args.fov is not None:
        if not 0.0 < args.fov < 180.0:
            raise UsageError(f'expected --fov between 0 and 180 degrees, got {args.fov:g}')
        return lambda height, width: _pinhole(args.fov, height, width)
    if args.camera_info is None:
        return None
    try:
        camera = CameraModel.from_camera_info(_read_yaml(args.camera_info), rectified=args.projection == 'rectified')
    except CameraInfoError as error:
        raise CommandError(f'{args.camera_info}: {error}') from error

    def find(height: int, width: int) -> CameraModel:
        camera.check_image_size(height, width)
        return camera

    return find


def _pinhole(fov_degrees: float, height: int, width: int) -> CameraModel:
    # Pixel centres are integers, so the picture ends half a pixel before the first and after the last.
    focal = width / (2.0 * math.tan(math.radians(fov_degrees) / 2.0))
    return CameraModel(width, height, focal, focal, (width - 1) / 2.0, (height - 1) / 2.0)


def _read_yaml(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f'{path}: not readable as YAML: {" ".join(str(error).split())}') from error
    if not isinstance(content, dict):
        raise CommandError(f'{path}: holds no calibration, expected the YAML that camera_calibration writes')
    return content


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
