"""The command line. Standard library only, so that --help comes at once."""

from __future__ import annotations

import argparse
from pathlib import Path

# The packages that own these import torch or OpenCV: test/cli/test_parser.py holds the two together.
BACKENDS = ('auto', 'torch', 'openvino')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16')
COLORMAPS = ('inferno', 'magma', 'turbo', 'viridis', 'gray')


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; its result has `command`, the name of the module in this package that runs it."""
    parser = argparse.ArgumentParser(
        prog='depth-anything', description='Depth Anything on files: pictures, videos and bags.', allow_abbrev=False
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    _add_image(commands)
    _add_video(commands)
    _add_bag(commands)
    _add_bench(commands)
    return parser


def _add_image(commands) -> None:
    parser = _add_command(commands, 'image', 'pictures in, depth, colour pictures and point clouds out')
    parser.add_argument(
        'inputs', nargs='+', type=Path, metavar='PATH', help='pictures, or folders, whose structure is kept'
    )
    parser.add_argument(
        '--output', required=True, type=Path, metavar='DIR', help='folder for *_depth.png or .npy, *_color.png, *.ply'
    )
    _add_format(parser)
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        '--camera-info', type=Path, metavar='FILE', help='calibration (YAML of camera_calibration): clouds as PLY'
    )
    camera.add_argument(
        '--fov', type=float, metavar='DEGREES', help='horizontal field of view of an ideal camera: clouds as PLY'
    )
    parser.add_argument(
        '--projection',
        choices=('raw', 'rectified'),
        default='raw',
        help='with --camera-info: the pictures are distorted (K and D) or not (P) (default: %(default)s)',
    )
    _add_model(parser)
    _add_depth(parser)
    # A picture's cloud is looked at, a robot's is computed with: hence all pixels here.
    _add_stride(parser, default=1)


def _add_video(commands) -> None:
    parser = _add_command(commands, 'video', 'a video in, the same beside its coloured depth out')
    parser.add_argument('input', type=Path, metavar='FILE')
    parser.add_argument('--output', required=True, type=Path, metavar='FILE.mp4')
    parser.add_argument('--depth-dir', type=Path, metavar='DIR', help='folder for the depth of every frame')
    _add_format(parser)
    _add_model(parser)
    _add_depth(parser)


def _add_bag(commands) -> None:
    parser = _add_command(
        commands, 'bag', 'a recording in, an MCAP bag with depth and points beside the old topics out'
    )
    parser.add_argument(
        'input', type=Path, metavar='IN', help='rosbag2 folder, .db3 or .mcap file, or .bag file of ROS 1'
    )
    parser.add_argument('--output', required=True, type=Path, metavar='OUT', help='rosbag2 folder')
    parser.add_argument('--image-topic', metavar='TOPIC', help='default: the only image topic there is')
    parser.add_argument('--camera-info-topic', metavar='TOPIC', help='default: camera_info beside the image')
    parser.add_argument('--namespace', metavar='NS', help='of the new topics (default: that of the image)')
    parser.add_argument(
        '--projection',
        choices=('auto', 'raw', 'rectified'),
        default='auto',
        help='the image is distorted (K, D) or not (P); auto: by "rect" in its name (default: %(default)s)',
    )
    parser.add_argument(
        '--scale-reference', metavar='TOPIC', help='depth image registered to the camera: metres for a relative model'
    )
    _add_model(parser)
    _add_depth(parser)
    _add_stride(parser, default=4)


def _add_bench(commands) -> None:
    parser = _add_command(commands, 'bench', 'measure the latency of the network on this machine', overwrites=False)
    _add_model(parser, model='untrained-small', backend=None)
    parser.add_argument(
        '--size', type=_size, default='640x480', metavar='WxH', help='of the camera image (default: %(default)s)'
    )
    parser.add_argument('--frames', type=_positive, default=20, help='measured, after a warm-up (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures and the machine there')


def _add_command(commands, name: str, text: str, *, overwrites: bool = True) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.', allow_abbrev=False)
    if overwrites:
        parser.add_argument('--overwrite', action='store_true', help='replace what is there; otherwise it is an error')
    return parser


def _add_model(parser: argparse.ArgumentParser, model: str = '', backend: str | None = 'auto') -> None:
    group = parser.add_argument_group('network')
    group.add_argument(
        '--model',
        default=model,
        metavar='NAME',
        help=f'in the catalogue (default: {model or "v2-small, or with --checkpoint what the file says of itself"})',
    )
    group.add_argument('--checkpoint', default='', metavar='FILE', help='weights (.safetensors, .pth)')
    group.add_argument('--accept-license', action='store_true', help='agree to weights for non-commercial use only')
    group.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N (default: %(default)s)')
    group.add_argument('--precision', choices=PRECISIONS, default='auto', help='default: %(default)s')
    group.add_argument(
        '--backend', choices=BACKENDS, default=backend, help=f'default: {backend or "each of those installed"}'
    )
    group.add_argument(
        '--input-size',
        type=_positive,
        default=518,
        metavar='PIXELS',
        help='to which the shorter side is scaled, a multiple of 14 (default: %(default)s)',
    )


def _add_depth(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('depth')
    group.add_argument(
        '--scale', type=float, metavar='S', help='metres for a relative model, 1 / depth = S * disparity + T: S in 1/m'
    )
    group.add_argument('--shift', type=float, metavar='T', help='the same: T in 1/m')
    group.add_argument(
        '--range-min', type=float, default=0.1, metavar='M', help='nearer is no depth (default: %(default)s m)'
    )
    group.add_argument(
        '--range-max', type=float, default=20.0, metavar='M', help='farther is no depth (default: %(default)s m)'
    )
    group.add_argument(
        '--edge-threshold',
        type=float,
        default=0.07,
        metavar='RATIO',
        help='relative jump of depth at which the pixels beside it are no depth; 0: off (default: %(default)s)',
    )
    group.add_argument('--colormap', choices=COLORMAPS, default='inferno', help='default: %(default)s')


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--format',
        choices=('png', 'npy'),
        default='png',
        help='of depth. png: 16 bits, millimetres, 0 is invalid; without metres, disparity from 0 at the farthest to '
        '65535 at the nearest pixel of each picture. npy: float32, metres or disparity (default: %(default)s)',
    )


def _add_stride(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        '--stride',
        type=_positive,
        default=default,
        metavar='N',
        help='a point for every N-th pixel (default: %(default)s)',
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'expected a positive integer, got {text}')
    return value


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition('x')
    return _positive(width), _positive(height)
