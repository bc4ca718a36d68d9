"""Start depth_node on a camera, or on several, and RViz if asked for.

ros2 launch depth_anything_ros depth.launch.py image:=/camera/image_rect_color
ros2 launch depth_anything_ros depth.launch.py cameras:=front,left image:=/{camera}/image_rect_color
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from depth_anything_ros.fast_dds import PROFILE_VARIABLES, profile_variable

SHARE = Path(get_package_share_directory('depth_anything_ros'))
# Each of these is the user's own choice of transport, which we leave alone.
TRANSPORT_VARIABLES = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')
TRUE, FALSE = ('true', 'True', '1'), ('false', 'False', '0')
# A frame in work is finished first, and launch would kill the node after 5 s, which is less than a large network needs
# on a CPU.
STOP_S = '30'

# What stands for the name of each camera in a topic.
CAMERA = '{camera}'
# What RViz shows of a camera, beside its image.
SHOWN = ('depth/image_color', 'points')

# (launch argument, node parameter, its type, meaning); an empty argument leaves the parameter to the params_file.
PARAMETERS = (
    ('model', 'model', str, 'name in the catalogue, such as tiny or v2-small'),
    ('checkpoint', 'checkpoint', str, 'weight file of that model'),
    ('accept_license', 'accept_license', bool, 'true: agree to a licence that forbids commercial use'),
    ('device', 'device', str, 'auto, cpu, cuda, cuda:N, openvino:GPU, openvino:NPU'),
    ('precision', 'precision', str, 'auto, fp32, bf16, fp16, int8'),
    ('backend', 'backend', str, 'auto, torch, torch-compile, openvino, onnxruntime'),
    ('input_size', 'input_size', int, "pixels of the image's shorter side in the network"),
    (
        'alignment_source',
        'alignment.source',
        str,
        'where metres come from: none, fixed, depth, points, scan, range, ground, camera or an installed one',
    ),
    ('image_transport', 'image_transport', str, 'raw or compressed'),
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('namespace', default_value='', description='namespace of the node'),
            DeclareLaunchArgument(
                'cameras',
                default_value='',
                description='names of several cameras, separated by commas, such as front,left; empty: params_file',
            ),
            DeclareLaunchArgument(
                'image',
                default_value='image',
                description=f'image topic; with cameras {CAMERA} in it stands for the name of each, as it does in '
                'camera_info, scale_reference and imu',
            ),
            DeclareLaunchArgument(
                'camera_info',
                default_value='',
                description="CameraInfo topic; empty: camera_info beside the image, image_transport's rule",
            ),
            DeclareLaunchArgument(
                'scale_reference',
                default_value='scale_reference',
                description='what alignment_source measures by: a depth image, PointCloud2, LaserScan or Range',
            ),
            DeclareLaunchArgument(
                'imu', default_value='imu', description='Imu topic, for alignment_source ground with gravity: imu'
            ),
            *(
                DeclareLaunchArgument(argument, default_value='', description=f'{meaning}; empty: params_file')
                for argument, _, _, meaning in PARAMETERS
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=str(SHARE / 'config' / 'depth.yaml'),
                description='parameters of the node',
            ),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='',
                choices=['', *TRUE, *FALSE],
                description='take time from /clock; empty: params_file',
            ),
            DeclareLaunchArgument('rviz', default_value='false', choices=[*TRUE, *FALSE], description='start RViz too'),
            DeclareLaunchArgument(
                'fixed_frame', default_value='camera_optical_frame', description="RViz's fixed frame"
            ),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def argument(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    params_file = Path(argument('params_file')).expanduser()
    if not params_file.is_file():
        # launch_ros would only warn, and start another model than the one in the file.
        raise RuntimeError(f'params_file {params_file} is not a file')
    # Lists, since an empty dictionary would become a parameter file that ROS cannot read.
    clock = [{'use_sim_time': argument('use_sim_time') in TRUE}] if argument('use_sim_time') else []
    overrides = [
        {parameter: ParameterValue(LaunchConfiguration(name), value_type=kind)}
        for name, parameter, kind, _ in PARAMETERS
        if argument(name)
    ]
    cameras = [name.strip() for name in argument('cameras').split(',')] if argument('cameras') else []
    if cameras:
        overrides.append({'cameras': cameras})
    topics = {name: argument(name) for name in ('image', 'camera_info', 'scale_reference', 'imu')}
    remappings = _remappings(cameras, topics)
    actions: list[LaunchDescriptionEntity] = [
        *_transport(),
        LifecycleNode(
            package='depth_anything_ros',
            executable='depth_node',
            name='depth_node',
            namespace=argument('namespace'),
            parameters=[str(params_file), *clock, *overrides],
            remappings=remappings,
            output='screen',
            sigterm_timeout=STOP_S,
        ),
    ]
    if argument('rviz') in TRUE:
        actions.append(
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=argument('namespace'),
                arguments=['-d', str(SHARE / 'config' / 'depth.rviz'), '-f', argument('fixed_frame')],
                parameters=clock,
                remappings=_shown(cameras, topics['image']),
            )
        )
    return actions


def _remappings(cameras: list[str], topics: dict[str, str]) -> list[tuple[str, str]]:
    """What each camera's topics are called here."""
    named = {name: topic for name, topic in topics.items() if topic not in ('', name)}
    for name in ('image', 'camera_info'):  # a sensor may serve several cameras
        if len(cameras) > 1 and CAMERA not in named.get(name, CAMERA):
            raise RuntimeError(
                f'{name}:={named[name]} is one topic for {len(cameras)} cameras: let it contain {CAMERA}'
            )
    if not cameras:
        for name, topic in named.items():
            if CAMERA in topic:
                raise RuntimeError(f'{name}:={topic} needs the names of the cameras: cameras:=front,left')
        return list(named.items())
    return [(f'{camera}/{name}', topic.replace(CAMERA, camera)) for camera in cameras for name, topic in named.items()]


def _shown(cameras: list[str], image: str) -> list[tuple[str, str]]:
    """What RViz's topics are called here: those of the first camera."""
    if not cameras:
        return [('image', image)]
    first = cameras[0]
    own = f'{first}/image' if image == 'image' else image.replace(CAMERA, first)
    return [('image', own), *((name, f'{first}/{name}') for name in SHOWN)]


def _transport() -> list[LaunchDescriptionEntity]:
    """Let large images through shared memory, unless the user has chosen a transport or another middleware."""
    if not os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps'):
        return []
    ours = str(SHARE / 'config' / 'fastdds.xml')
    chosen = {name: os.environ[name] for name in TRANSPORT_VARIABLES if os.environ.get(name)}
    if any(os.path.realpath(value) == os.path.realpath(ours) for value in chosen.values()):
        return []
    if chosen:
        name, value = next(iter(chosen.items()))
        return [LogInfo(msg=f'{name} is set, to {value}: the Fast DDS profile of this package is not used')]
    return [SetEnvironmentVariable(profile_variable(), ours)]
