"""launch/depth.launch.py, started for real, as `ros2 launch` does."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='needs launch_ros, which is not on PyPI: run this test in a ROS 2 install')

from dds_client import Client, picture
from launch import LaunchContext
from launch.actions import LogInfo, SetEnvironmentVariable
from launch.utilities import perform_substitutions
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'depth_anything_ros'
START_S = 120.0
FAST_DDS_2, FAST_DDS_3 = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
TRANSPORTS = (FAST_DDS_2, FAST_DDS_3, 'FASTDDS_BUILTIN_TRANSPORTS')
CHOICES = (*TRANSPORTS, 'RMW_IMPLEMENTATION', 'ROS_DISTRO')
RUNNER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, *arguments = sys.argv[1:]
service = LaunchService(argv=arguments)
include = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=[argument.split(':=', 1) for argument in arguments]
)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""
NODE = 'from depth_anything_ros.node.main import main; sys.exit(main())'
# Stands in for an executable, and says how it was called.
ECHO = "import json; print('CALLED ' + json.dumps(sys.argv), file=sys.stderr, flush=True)"


class Launched:
    """A running launch file and what it prints."""

    def __init__(self, arguments, cwd):
        command = [sys.executable, '-c', RUNNER, str(ROOT / 'launch' / 'depth.launch.py'), *arguments]
        self.process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    @property
    def output(self):
        return ''.join(self.lines)

    def wait(self):
        returncode = self.process.wait(START_S)
        self._reader.join(START_S)
        return returncode

    def interrupt(self):
        """Ctrl-C: the terminal sends it to launch and to what launch started."""
        os.killpg(self.process.pid, signal.SIGINT)

    def calls(self):
        return [json.loads(line.split('CALLED ', 1)[1]) for line in self.lines if 'CALLED ' in line]

    def node_environment(self):
        pid = re.search(r'\[depth_node-\d+\]: process started with pid \[(\d+)\]', self.output).group(1)
        entries = Path(f'/proc/{pid}/environ').read_text().split('\0')
        return dict(entry.split('=', 1) for entry in entries if '=' in entry)


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """An install prefix in the ament index, laid out as colcon does; executables are made by the test."""
    root = tmp_path / 'prefix'
    share = root / 'share' / PACKAGE
    share.mkdir(parents=True)
    for name in ('launch', 'config', 'package.xml'):
        (share / name).symlink_to(ROOT / name)
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join([str(root), os.environ.get('AMENT_PREFIX_PATH', '')]))
    python_path = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, python_path)))

    def add(package, executable, code):
        marker = root / 'share' / 'ament_index' / 'resource_index' / 'packages' / package
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        path = root / 'lib' / package / executable
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!{sys.executable}\nimport sys\n{code}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return add


@pytest.fixture
def launch(tmp_path):
    launched = []

    def start(*arguments):
        launched.append(Launched(arguments, tmp_path))
        return launched[-1]

    yield start
    for item in launched:
        if item.process.poll() is None:
            os.killpg(item.process.pid, signal.SIGKILL)
            item.process.wait()


@pytest.fixture
def client():
    node = Client('/camera/image_rect')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()


@pytest.fixture
def params_file(tmp_path):
    path = tmp_path / 'small.yaml'
    path.write_text('/**:\n  ros__parameters:\n    input_size: 42\n    range.max_m: 7.5\n    use_sim_time: true\n')
    return path


def parameters_of(client, node, names):
    service = client.create_client(GetParameters, f'{node}/get_parameters')
    client.wait_for(service.service_is_ready, f'parameters of {node}', START_S)
    future = service.call_async(GetParameters.Request(names=names))
    values = client.wait_for(future.result, 'answer').values
    kinds = {1: 'bool_value', 2: 'integer_value', 3: 'double_value', 4: 'string_value'}
    return [getattr(value, kinds[value.type]) for value in values]


def test_the_node_comes_up_as_asked_answers_a_frame_and_stops_at_ctrl_c(
    prefix, launch, client, params_file, monkeypatch
):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    prefix(PACKAGE, 'depth_node', NODE)
    client.listen('/robot/relative/image', Image)
    launched = launch(
        'namespace:=robot',
        'image:=/camera/image_rect',
        'scale_reference:=/lidar/depth',
        'model:=untrained-small',
        'accept_license:=true',
        'device:=cpu',
        'precision:=fp32',
        'backend:=torch',
        'input_size:=28',
        'alignment_source:=depth',
        f'params_file:={params_file}',
    )
    client.wait_for(client.images.get_subscription_count, f'node; launch says {launched.lines}', START_S)
    client.wait_for(lambda: client.count_publishers('/robot/relative/image'), 'publisher')
    client.wait_for(lambda: client.count_subscribers('/lidar/depth'), 'subscriber of scale_reference')
    assert client.count_subscribers('/camera/camera_info') == 1
    asked = {
        'model': 'untrained-small',
        'accept_license': True,
        'device': 'cpu',
        'precision': 'fp32',
        'backend': 'torch',
        'input_size': 28,
        'alignment.source': 'depth',
        'checkpoint': '',
        # Of the file, which has another input_size.
        'range.max_m': 7.5,
        'use_sim_time': True,
    }
    assert parameters_of(client, '/robot/depth_node', [*asked]) == [*asked.values()]

    answer = client.answer('/robot/relative/image', client.send(picture()), START_S)
    assert (answer.height, answer.width, answer.encoding) == (48, 64, '32FC1')
    environment = launched.node_environment()
    assert environment[FAST_DDS_3].endswith('config/fastdds.xml')
    assert FAST_DDS_2 not in environment

    launched.interrupt()
    assert launched.wait() == 0, launched.output
    assert 'finished cleanly' in launched.output
    assert 'Traceback' not in launched.output


def test_rviz_shows_the_topics_of_the_node(prefix, launch, params_file):
    prefix(PACKAGE, 'depth_node', ECHO)
    prefix('rviz2', 'rviz2', ECHO)
    launched = launch(
        'rviz:=true', 'namespace:=robot', 'image:=/camera/image', 'fixed_frame:=map', f'params_file:={params_file}'
    )
    assert launched.wait() == 0, launched.output
    rviz = next(call for call in launched.calls() if call[0].endswith('/rviz2'))
    config = Path(rviz[rviz.index('-d') + 1])
    assert config.name == 'depth.rviz'
    assert config.is_file()
    assert rviz[rviz.index('-f') + 1] == 'map'
    assert {'__ns:=/robot', 'image:=/camera/image'} <= set(rviz)


def test_each_camera_has_its_topics_by_its_name_and_rviz_shows_the_first(prefix, launch, params_file):
    prefix(PACKAGE, 'depth_node', ECHO)
    prefix('rviz2', 'rviz2', ECHO)
    launched = launch(
        'rviz:=true',
        'cameras:=front,left',
        'image:=/{camera}/image_rect',
        'scale_reference:=/lidar/points',
        'imu:=/{camera}/imu/data',
        f'params_file:={params_file}',
    )
    assert launched.wait() == 0, launched.output
    calls = {Path(call[0]).name: {word for word in call if ':=' in word} for call in launched.calls()}
    assert calls['depth_node'] >= {
        'front/image:=/front/image_rect',
        'left/image:=/left/image_rect',
        'front/scale_reference:=/lidar/points',
        'left/scale_reference:=/lidar/points',
        'front/imu:=/front/imu/data',
        'left/imu:=/left/imu/data',
    }
    assert not any(word.startswith(('image:=', 'camera_info:=')) for word in calls['depth_node'])
    assert calls['rviz2'] >= {'image:=/front/image_rect', 'points:=front/points'}


def test_several_cameras_are_started_by_their_names(prefix, launch, client, params_file):
    prefix(PACKAGE, 'depth_node', NODE)
    launched = launch(
        'cameras:=front,left',
        'image:=/{camera}/image_rect',
        'model:=untrained-small',
        'device:=cpu',
        f'params_file:={params_file}',
    )
    client.wait_for(lambda: client.count_subscribers('/front/image_rect'), f'node; {launched.lines}', START_S)
    client.wait_for(lambda: client.count_subscribers('/left/camera_info'), 'subscriber of camera_info')
    launched.interrupt()
    assert launched.wait() == 0, launched.output


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['params_file:=/no/such.yaml'], '/no/such.yaml'),
        (['use_sim_time:=maybe'], 'maybe'),
        (['accept_license:=maybe'], 'maybe'),
        (['cameras:=front,left', 'image:=/camera/image'], 'one topic for 2 cameras'),
        (['cameras:=front,left', 'camera_info:=/front/camera_info'], 'camera_info:=/front/camera_info is one topic'),
        (['image:=/{camera}/image'], 'needs the names'),
    ],
)
def test_an_argument_that_cannot_be_is_refused(prefix, launch, arguments, text):
    prefix(PACKAGE, 'depth_node', ECHO)
    launched = launch(*arguments)
    assert launched.wait() != 0
    assert text in launched.output
    assert launched.calls() == []


@pytest.mark.parametrize(
    ('user', 'expected'),
    [
        ({}, FAST_DDS_3),
        ({'ROS_DISTRO': 'kilted'}, FAST_DDS_3),
        ({'ROS_DISTRO': 'jazzy'}, FAST_DDS_2),
        ({'ROS_DISTRO': 'humble', 'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'}, FAST_DDS_2),
        ({'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, None),
        ({FAST_DDS_3: '/mine.xml'}, None),
        ({FAST_DDS_3: str(ROOT / 'config' / 'fastdds.xml')}, None),
        ({FAST_DDS_2: '/mine.xml'}, None),
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}, None),
    ],
    ids=str,
)
def test_the_users_choice_of_transport_is_left_alone(prefix, monkeypatch, user, expected):
    prefix(PACKAGE, 'depth_node', ECHO)
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    spec = spec_from_file_location('depth_launch', ROOT / 'launch' / 'depth.launch.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update(
        {
            argument.name: perform_substitutions(context, argument.default_value)
            for argument in module.generate_launch_description().get_launch_arguments()
        }
    )
    started = module._start(context)
    told = [perform_substitutions(context, action.msg) for action in started if isinstance(action, LogInfo)]
    actions = [action for action in started if isinstance(action, SetEnvironmentVariable)]
    set_names = [perform_substitutions(context, action.name) for action in actions]
    assert set_names == ([expected] if expected else [])
    # Of what is not ours it is said, with its value.
    theirs = {name: value for name, value in user.items() if name in TRANSPORTS and str(ROOT) not in value}
    assert [line.partition(':')[0] for line in told] == [f'{name} is set, to {value}' for name, value in theirs.items()]
    assert all(Path(perform_substitutions(context, action.value)).is_file() for action in actions)
