"""The command line. Standard library only, so that --help comes at once."""

from __future__ import annotations

import argparse
from math import inf
from pathlib import Path

from depth_anything_ros.choices import BACKENDS, EXPORT_FORMATS, EXPORT_PRECISIONS, PRECISIONS

_POSE = ('X', 'Y', 'Z', 'QX', 'QY', 'QZ', 'QW')
# The package that owns these imports OpenCV: test/cli/test_parser.py holds the two together.
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
    _add_align(commands)
    _add_bench(commands)
    _add_export(commands)
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
    # Pictures are of many sizes, and all the others compile for each.
    _add_model(parser, backend='torch')
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
    _add_input(parser)
    parser.add_argument('--output', required=True, type=Path, metavar='OUT', help='rosbag2 folder')
    parser.add_argument('--namespace', metavar='NS', help='of the new topics (default: that of the image)')
    _add_alignment(parser)
    _add_model(parser)
    _add_depth(parser)
    _add_stride(parser, default=4)


def _add_align(commands) -> None:
    parser = _add_command(
        commands, 'align', 'a recording in, the error of sources of metres against evidence they never saw out'
    )
    _add_input(parser)
    truth = parser.add_argument_group('truth')
    truth.add_argument(
        '--truth',
        metavar='TOPIC[,PARAMETER=VALUE...]',
        help='depth image, PointCloud2 or LaserScan to compare with, read as sources depth, points and scan do '
        "(default: what --held-out takes from the source's own evidence)",
    )
    truth.add_argument(
        '--held-out',
        type=float,
        default=0.5,
        metavar='SHARE',
        help="without --truth: of every frame's samples, those that the fit never sees (default: %(default)s)",
    )
    truth.add_argument(
        '--truth-extrinsics', type=float, nargs=7, metavar=_POSE, help='as --extrinsics, of the frame of --truth'
    )
    _add_range(truth, 'truth is not looked at')
    parser.add_argument('--csv', type=Path, metavar='FILE', help='also write a line for every frame there')
    parser.add_argument('--plot', type=Path, metavar='FILE.png', help='also draw it (needs Matplotlib)')
    parser.add_argument('--quiet', action='store_true', help='print no line for every frame, only the whole')
    _add_scale(_add_alignment(parser))
    _add_model(parser)


def _add_bench(commands) -> None:
    parser = _add_command(commands, 'bench', 'measure how long a frame takes on this machine', overwrites=False)
    group = parser.add_argument_group('cases, all combinations of')
    several = {'nargs': '+', 'metavar': 'NAME'}
    group.add_argument(
        '--model',
        default=[''],
        help='in the catalogue (default: tiny, or with --checkpoint what the file says of itself)',
        **several,
    )
    group.add_argument('--backend', choices=BACKENDS, help='default: each of those installed', **several)
    group.add_argument(
        '--device',
        default=['auto'],
        help='auto, cpu, cuda, cuda:N, openvino:GPU or openvino:NPU (default: auto)',
        **several,
    )
    group.add_argument('--precision', choices=PRECISIONS, default=['auto'], help='default: auto', **several)
    group.add_argument(
        '--input-size', type=int, nargs='+', default=[0], metavar='PIXELS', help="0: the model's own (default)"
    )
    parser.add_argument('--checkpoint', default='', metavar='FILE', help='weights of the model')
    parser.add_argument('--accept-license', action='store_true', help='agree to weights for non-commercial use only')
    parser.add_argument(
        '--size', type=_size, default='640x480', metavar='WxH', help='of the camera image (default: %(default)s)'
    )
    parser.add_argument('--frames', type=_positive, default=50, help='measured, after a warm-up (default: %(default)s)')
    parser.add_argument(
        '--reference', action='store_true', help="Hugging Face's transformers on the same network beside it"
    )
    node = parser.add_argument_group('the node, from the stamp of an image to its depth and cloud')
    node.add_argument('--end-to-end', action='store_true', help='measure it too, for each case; needs ROS')
    node.add_argument('--rate', type=_above_zero, default=30.0, metavar='HZ', help='of a camera (default: %(default)s)')
    node.add_argument(
        '--cameras', type=_positive, default=1, metavar='N', help='in one node, and then in a node each (default: 1)'
    )
    node.add_argument(
        '--seconds', type=_above_zero, default=20.0, help='measured, for each case (default: %(default)s)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures and the machine there')
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='also write the tables there')


def _add_export(commands) -> None:
    parser = _add_command(commands, 'export', 'a network in, an ONNX file or OpenVINO IR out, checked against torch')
    parser.add_argument('model', metavar='MODEL', help='in the catalogue, or a weight file that says what it holds')
    parser.add_argument(
        'out', type=Path, metavar='OUT', help='FILE.onnx, or FILE.xml, beside which FILE.bin is written'
    )
    parser.add_argument('--format', choices=EXPORT_FORMATS, required=True)
    parser.add_argument('--checkpoint', default='', metavar='FILE', help='weights (.safetensors, .pth) of MODEL')
    parser.add_argument('--accept-license', action='store_true', help='agree to weights for non-commercial use only')
    parser.add_argument(
        '--image-size',
        type=_size,
        default='480x640',
        metavar='HxW',
        help="of the camera's image, height first; the network's follows from it (default: %(default)s)",
    )
    _add_input_size(parser)
    parser.add_argument('--dynamic', action='store_true', help='any batch and size (tiny, lite*; not --precision int8)')
    parser.add_argument(
        '--precision',
        choices=EXPORT_PRECISIONS,
        default='fp32',
        help='of the weights; with --format onnx also of the work; int8: openvino only (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        type=Path,
        metavar='DIR',
        help='pictures of the camera to check with; int8 is calibrated on three quarters of them',
    )


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'input', type=Path, metavar='IN', help='rosbag2 folder, .db3 or .mcap file, or .bag file of ROS 1'
    )
    parser.add_argument('--image-topic', metavar='TOPIC', help='default: the only image topic there is')
    parser.add_argument('--camera-info-topic', metavar='TOPIC', help='default: camera_info beside the image')
    parser.add_argument(
        '--projection',
        choices=('auto', 'raw', 'rectified'),
        default='auto',
        help='the image is distorted (K, D) or not (P); auto: by "rect" in its name (default: %(default)s)',
    )


def _add_alignment(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group('metres for a relative model')
    group.add_argument(
        '--alignment-source',
        action='append',
        metavar='NAME[,PARAMETER=VALUE...]',
        help='none, fixed, depth, points, scan, range, ground, camera, or one that is installed (default: none, and '
        'depth with --scale-reference); `align` takes several',
    )
    group.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='PARAMETER=VALUE',
        help='a parameter of the source or of alignment, as max_samples=2000 or max_age_s=1; repeat for more',
    )
    group.add_argument(
        '--scale-reference',
        action='append',
        default=[],
        metavar='TOPIC',
        help="the source's evidence (default: the only topic of its type there is)",
    )
    group.add_argument(
        '--remap',
        action='append',
        type=_remapping,
        default=[],
        metavar='NAME:=TOPIC',
        help='the same for another topic of the source, such as imu; also for tf and tf_static',
    )
    group.add_argument(
        '--extrinsics',
        type=float,
        nargs=7,
        metavar=_POSE,
        help="pose of the evidence's frame in the camera's optical frame, metres and quaternion (default: from TF)",
    )
    group.add_argument(
        '--fixed-frame',
        default='',
        metavar='FRAME',
        help="such as odom: with it TF takes evidence from its time to the image's (default: the robot stands still)",
    )
    return group


def _add_command(commands, name: str, text: str, *, overwrites: bool = True) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.', allow_abbrev=False)
    if overwrites:
        parser.add_argument('--overwrite', action='store_true', help='replace what is there; otherwise it is an error')
    return parser


def _add_model(parser: argparse.ArgumentParser, backend: str = 'auto') -> None:
    group = parser.add_argument_group('network')
    group.add_argument(
        '--model',
        default='',
        metavar='NAME',
        help='in the catalogue (default: tiny, or with --checkpoint what the file says of itself)',
    )
    group.add_argument('--checkpoint', default='', metavar='FILE', help='weights (.safetensors, .pth)')
    group.add_argument('--accept-license', action='store_true', help='agree to weights for non-commercial use only')
    group.add_argument(
        '--device', default='auto', help='auto, cpu, cuda, cuda:N, openvino:GPU or openvino:NPU (default: %(default)s)'
    )
    group.add_argument('--precision', choices=PRECISIONS, default='auto', help='default: %(default)s')
    group.add_argument('--backend', choices=BACKENDS, default=backend, help='default: %(default)s')
    _add_input_size(group)


def _add_input_size(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        '--input-size',
        type=int,
        default=0,
        metavar='PIXELS',
        help="to which the shorter side is scaled, a multiple of 14 (tiny: 32); 0: the model's own (default)",
    )


def _add_depth(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('depth')
    _add_scale(group)
    _add_range(group, 'is no depth')
    group.add_argument(
        '--edge-threshold',
        type=float,
        default=0.07,
        metavar='RATIO',
        help='relative jump of depth at which the pixels beside it are no depth; 0: off (default: %(default)s)',
    )
    group.add_argument('--colormap', choices=COLORMAPS, default='inferno', help='default: %(default)s')


def _add_scale(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--scale', type=float, metavar='S', help='metres for a relative model, 1 / depth = S * disparity + T: S in 1/m'
    )
    group.add_argument('--shift', type=float, metavar='T', help='the same: T in 1/m')


def _add_range(group: argparse._ArgumentGroup, consequence: str) -> None:
    group.add_argument(
        '--range-min', type=float, default=0.1, metavar='M', help=f'nearer {consequence} (default: %(default)s m)'
    )
    group.add_argument(
        '--range-max', type=float, default=20.0, metavar='M', help=f'farther {consequence} (default: %(default)s m)'
    )


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


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f'expected a finite number above 0, got {text}')
    return value


def _remapping(text: str) -> tuple[str, str]:
    name, arrow, topic = text.partition(':=')
    if not (name and arrow and topic):
        raise argparse.ArgumentTypeError(f'expected NAME:=TOPIC, got {text}')
    return name, topic


def _size(text: str) -> tuple[int, int]:
    first, _, second = text.partition('x')
    return _positive(first), _positive(second)
