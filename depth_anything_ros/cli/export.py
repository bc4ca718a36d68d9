"""depth-anything export: a network as an ONNX file or as OpenVINO IR, held against torch before it is written."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.benchmark.picture import made_up_picture
from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.cli.files import UnreadableImageError, read_rgb
from depth_anything_ros.estimation import (
    BackendUnavailableError,
    ImageShapeError,
    artefacts,
    network_size,
    preprocess,
    quantisation,
)
from depth_anything_ros.estimation.backends.openvino_compiler import openvino_artefacts
from depth_anything_ros.estimation.export import (
    OPSET,
    pack_openvino,
    save_openvino,
    to_onnx,
    to_openvino,
)
from depth_anything_ros.estimation.verification import check_export, onnx_run, openvino_run
from depth_anything_ros.files import replacing
from depth_anything_ros.network import DepthAnything

_SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml'}
_PICTURES = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
_WEIGHTS = {'.safetensors', '.pth'}


class _Job(NamedTuple):
    """What is exported, and what it is held against torch with."""

    network: DepthAnything
    shape: tuple[int, int, int, int]
    batches: list[torch.Tensor]


def run(args: Namespace) -> int:
    """Run the command: the files' names and the deviation on stdout; raises CommandError."""
    _check(args)
    try:
        job = _prepare(args)
        _export_onnx(args, job) if args.format == 'onnx' else _export_openvino(args, job)
    except (checkpoints.CheckpointError, BackendUnavailableError, ImageShapeError) as error:
        raise CommandError(str(error)) from error
    return 0


def _check(args: Namespace) -> None:
    if _is_file(args.model) and args.checkpoint:
        raise UsageError(f'{args.model} and --checkpoint {args.checkpoint} are two weight files: give one')
    suffix = _SUFFIXES[args.format]
    if args.out.suffix != suffix:
        raise UsageError(f'expected OUT to end in {suffix} for --format {args.format}, got {args.out}')
    written = [args.out, args.out.with_suffix('.bin')] if args.format == 'openvino' else [args.out]
    there = [path for path in written if path.exists()]
    if there and not args.overwrite:
        raise CommandError(f'{there[0]} is there: --overwrite replaces it')
    if args.precision == 'int8' and (args.format != 'openvino' or args.dynamic or args.images is None):
        raise UsageError('--precision int8 is for --format openvino, needs --images FOLDER and goes without --dynamic')


def _prepare(args: Namespace) -> _Job:
    named_by_file = _is_file(args.model)
    network = checkpoints.load(
        None if named_by_file else args.model,
        path=args.model if named_by_file else args.checkpoint or None,
        accept_license=args.accept_license,
    )
    multiple, input_size = network.multiple, args.input_size or network.architecture.input_size
    if input_size < multiple or input_size % multiple:
        raise UsageError(f'expected --input-size to be a multiple of {multiple}, got {input_size}')
    size = network_size(*args.image_size, input_size, multiple)
    images = [made_up_picture(*args.image_size)] if args.images is None else _read(args.images)
    batches = [preprocess([image], size, torch.device('cpu')) for image in images]
    return _Job(network, (1, 3, *size), batches)


def _is_file(model: str) -> bool:
    """Whether MODEL is a weight file, and no name of the catalogue."""
    return Path(model).suffix in _WEIGHTS


def _export_onnx(args: Namespace, job: _Job) -> None:
    content = to_onnx(job.network, job.shape, args.precision, dynamic=args.dynamic)
    worst = check_export(job.network, onnx_run(content), _with_other_size(args, job), args.precision)
    with replacing(args.out) as unfinished:
        unfinished.write_bytes(content)
    print(f'{args.out}: ONNX, opset {OPSET}, {_describe(args, job)}; {_verdict(worst, job)}')


def _export_openvino(args: Namespace, job: _Job) -> None:
    if args.precision == 'int8':
        calibration, batches = quantisation.hold_out(job.batches)
        model = quantisation.quantise(job.network, calibration)
        job = job._replace(batches=batches)
    else:
        model = to_openvino(job.network, job.shape, dynamic=args.dynamic)
    weights = args.out.with_suffix('.bin')
    # The description takes its place last: where it is, there are its weights.
    with replacing(args.out) as unfinished, replacing(weights):
        save_openvino(model, unfinished, half=args.precision == 'fp16')
        worst = check_export(job.network, openvino_run(unfinished), _with_other_size(args, job), args.precision)
    print(f'{args.out}, {weights}: OpenVINO IR, {_describe(args, job)}; {_verdict(worst, job)}')
    if args.precision == 'int8':
        entry = openvino_artefacts(job.network).path(job.shape, 'int8')
        if artefacts.write(entry, pack_openvino(model)):
            print(f'{entry}: the same in the cache, for backend openvino in precision int8')


def _with_other_size(args: Namespace, job: _Job) -> list[torch.Tensor]:
    """What to check with; of dynamic sizes also a batch of two in another size."""
    if not args.dynamic:
        return job.batches
    height, width = job.shape[2:]
    size = height + job.network.multiple, width
    other = torch.nn.functional.interpolate(job.batches[0], size=size, mode='bilinear', align_corners=False)
    return [*job.batches, torch.cat([other, other.flip(-1)])]


def _describe(args: Namespace, job: _Job) -> str:
    batch, _, height, width = job.shape
    size = f'any size in multiples of {job.network.multiple}' if args.dynamic else f'{height}x{width}'
    return f'{args.precision}, {"any batch" if args.dynamic else f"batch of {batch}"}, {size}'


def _verdict(worst: float, job: _Job) -> str:
    pictures = f'{len(job.batches)} pictures' if len(job.batches) > 1 else 'a picture'
    return f'differs from torch fp32 by at most {worst:.4%} on {pictures}'


def _read(folder: Path) -> list[np.ndarray]:
    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in _PICTURES)
    if len(paths) < quantisation.MIN_PICTURES:
        raise CommandError(f'{folder} has {len(paths)} pictures, expected at least {quantisation.MIN_PICTURES}')
    try:
        return [read_rgb(path) for path in paths]
    except UnreadableImageError as error:
        raise CommandError(str(error)) from error
