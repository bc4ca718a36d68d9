"""Real DDS for the node's tests: a node in this process, and a client that knows it by its topics only."""

import os
import random
from contextlib import ExitStack

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install depth_anything_ros[ros]')

# Before the first context: suites side by side do not hear each other, nor do the up to four workers of one that share
# it out (pytest-xdist), and nothing leaves this machine.
worker = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
os.environ['ROS_DOMAIN_ID'] = str(1 + 4 * random.SystemRandom().randrange(25) + worker % 4)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['ROS_LOCALHOST_ONLY'] = '1' if os.environ.get('ROS_DISTRO') == 'humble' else '0'

import rclpy
from dds_client import SMALL, Client, spinning
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depth_anything_ros import checkpoints
from depth_anything_ros.node.depth_node import DepthNode


@pytest.fixture(scope='session', autouse=True)
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def run_node():
    """Start a node with parameters, activated, beside a client that listens to topics; stops both at the end."""
    with ExitStack() as stack:

        def run(
            listen=(),
            image_type=Image,
            image_topic='image',
            arguments=(),
            evidence_type=None,
            evidence_topic='scale_reference',
            **parameters,
        ):
            settings = {**SMALL, 'diagnostic_updater.period': 0.1, **parameters}
            node = DepthNode(
                parameter_overrides=[Parameter(name, value=value) for name, value in settings.items()],
                cli_args=['--ros-args', *arguments] if arguments else None,
            )
            if parameters.get('alignment.source') == 'depth':
                evidence_type = Image
            client = Client(image_topic, image_type, evidence_type, evidence_topic)
            types = {'points': PointCloud2, 'depth/camera_info': CameraInfo}
            for topic in listen:
                client.listen(topic, types.get(topic, Image))
            assert node.start()
            stack.enter_context(spinning(node, client))
            client.wait_for(
                lambda: client.images.get_subscription_count() and node.count_subscribers('/diagnostics'),
                'connection to the node',
            )
            for topic in listen:
                client.wait_for(lambda topic=topic: client.count_publishers(topic), f'publisher of {topic}')
            if evidence_type is not None:
                client.wait_for(client.references.get_subscription_count, f'subscriber of {evidence_topic}')
            client.wait_for(client.infos.get_subscription_count, 'subscriber of camera_info')
            return node, client

        yield run


@pytest.fixture(scope='session')
def constant_checkpoint(constant_networks, tmp_path_factory):
    """A weight file of a network that predicts one value everywhere."""

    def make(name, logit):
        path = tmp_path_factory.mktemp('weights') / f'{name}-{logit}.safetensors'
        checkpoints.save(constant_networks(name, logit), path)
        return {'model': name, 'checkpoint': str(path)}

    return make
