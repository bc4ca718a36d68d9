"""Start depth_node on a camera, and RViz if asked for.

ros2 launch depth_anything_ros depth.launch.py image:=/camera/image_rect_color model:=v2-small
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

SHARE = Path(get_package_share_directory('depth_anything_ros'))
# Each of these is the user's own choice of transport, which we leave alone. The first two are set by us otherwise:
# Fast DDS 2.x (Humble) reads the second.
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
TRANSPORT_VARIABLES = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')

# (launch argument, node parameter, meaning); an empty argument leaves the parameter to the params_file.
PARAMETERS = (
    ('model', 'model', 'name in the catalogue, such as v2-small'),
    ('checkpoint', 'checkpoint', 'weight file of that model'),
    ('device', 'device', 'auto, cpu, cuda, cuda:N'),
    ('alignment_source', 'alignment.source', 'where metres come from: none, fixed or depth'),
    ('image_transport', 'image_transport', 'raw or compressed'),
)


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('namespace', default_value='', description='namespace of the node'),
            DeclareLaunchArgument('image', default_value='image', description='image topic'),
            DeclareLaunchArgument(
                'camera_info',
                default_value='',
                description="CameraInfo topic; empty: camera_info beside the image, image_transport's rule",
            ),
            DeclareLaunchArgument(
                'scale_reference',
                default_value='scale_reference',
                description='registered depth image for alignment_source:=depth',
            ),
            *(
                DeclareLaunchArgument(argument, default_value='', description=f'{meaning}; empty: params_file')
                for argument, _, meaning in PARAMETERS
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=str(SHARE / 'config' / 'depth.yaml'),
                description='parameters of the node',
            ),
            DeclareLaunchArgument('use_sim_time', default_value='false', description='take time from /clock'),
            DeclareLaunchArgument('rviz', default_value='false', description='start RViz too'),
            DeclareLaunchArgument(
                'fixed_frame', default_value='camera_optical_frame', description="RViz's fixed frame"
            ),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def argument(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    use_sim_time = argument('use_sim_time').lower() in ('true', '1')
    overrides: dict[str, object] = {'use_sim_time': use_sim_time}
    overrides |= {parameter: argument(name) for name, parameter, _ in PARAMETERS if argument(name)}
    remappings = [('image', argument('image')), ('scale_reference', argument('scale_reference'))]
    if argument('camera_info'):
        remappings.append(('camera_info', argument('camera_info')))
    actions: list[LaunchDescriptionEntity] = [
        *_transport(),
        LifecycleNode(
            package='depth_anything_ros',
            executable='depth_node',
            name='depth_node',
            namespace=argument('namespace'),
            parameters=[argument('params_file'), overrides],
            remappings=remappings,
            output='screen',
        ),
    ]
    if argument('rviz').lower() in ('true', '1'):
        actions.append(
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=argument('namespace'),
                arguments=['-d', str(SHARE / 'config' / 'depth.rviz'), '-f', argument('fixed_frame')],
                parameters=[{'use_sim_time': use_sim_time}],
                remappings=[('image', argument('image'))],
            )
        )
    return actions


def _transport() -> list[LaunchDescriptionEntity]:
    """Let HD images through shared memory, unless the user has chosen a transport or another middleware."""
    if not os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps'):
        return []
    chosen = [name for name in TRANSPORT_VARIABLES if os.environ.get(name)]
    if chosen:
        return [LogInfo(msg=f'{chosen[0]} is set: the Fast DDS profile of this package is not used')]
    profile = str(SHARE / 'config' / 'fastdds.xml')
    return [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
