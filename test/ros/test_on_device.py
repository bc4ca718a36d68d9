"""The node with all dense work on a device: what it publishes is what it publishes without."""

import numpy as np
import pytest
import torch
from dds_client import camera_info, depth_of, picture, points_of, see, until_metres, values_of
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from depth_anything_ros.estimation import DepthEstimator
from depth_anything_ros.node.device_products import DeviceRender
from depth_anything_ros.node.products import make_render

TOPICS = ['relative/image', 'depth/image_color', 'depth/image_rect', 'depth/image_raw', 'depth/camera_info', 'points']


def distorted():
    info = camera_info()
    info.d = [-0.2, 0.05, 0.001, -0.001, 0.0]
    return info


@pytest.fixture
def on_device(monkeypatch):
    """What is true of a GPU, on this CPU, from now on: for the nodes that start, and for one that runs."""

    def patch(node=None):
        monkeypatch.setattr(DepthEstimator, 'keeps_on_device', True)
        if node is not None:
            (stream,) = node._streams
            monkeypatch.setattr(stream, '_render', make_render(node._estimator))

    return patch


def values_in(message):
    """What a message carries, as numbers."""
    if not hasattr(message, 'encoding'):
        return points_of(message)
    kinds = {'32FC1': np.float32, '16UC1': np.uint16, 'bgr8': np.uint8}
    return np.frombuffer(message.data, kinds[message.encoding]).astype(float)


@pytest.mark.parametrize('size', ['input', 'network'])
def test_every_topic_is_the_same(run_node, on_device, size):
    node, client = run_node(TOPICS, output_size=size, **{'range.max_m': 8.0})
    disparity = depth_of(client.answer('relative/image', client.send(picture())))
    # A tenth of it less than nothing, and most of the rest up to 1/m.
    far, near = np.percentile(disparity, [10, 90]).tolist()
    scale = 1.0 / (near - far)
    shift = -scale * far
    fixed = {'alignment.source': 'fixed', 'alignment.fixed.scale': scale, 'alignment.fixed.shift': shift}
    results = node.set_parameters_atomically([Parameter(name, value=value) for name, value in fixed.items()])
    assert results.successful

    def answers():
        stamp = client.send(picture(), info=distorted())
        return {topic: client.answer(topic, stamp) for topic in TOPICS}

    host = answers()
    on_device(node)
    ours = answers()
    assert ours['depth/camera_info'].p.tolist() == host['depth/camera_info'].p.tolist()
    for topic in set(TOPICS) - {'depth/camera_info'}:
        tolerance = {'depth/image_raw': 1.0, 'depth/image_color': 8.0}.get(topic, 0.0)
        np.testing.assert_allclose(values_in(ours[topic]), values_in(host[topic]), rtol=1e-4, atol=tolerance)
    depth = depth_of(host['depth/image_rect'])
    assert all(some.any() for some in (np.isnan(depth), np.isinf(depth), np.isfinite(depth)))


def test_evidence_gives_the_same_metres(run_node, on_device):
    topics = ['relative/image', 'depth/image_color', 'depth/image_rect', 'depth/sigma']
    node, client = run_node(topics, **{'alignment.source': 'depth', 'edge.threshold': 0.0})
    truth, image = see(client)
    evidence = np.where(np.random.default_rng(0).random(truth.shape) < 0.2, truth, 0.0).astype(np.float32)

    def metres():
        found = until_metres(client, lambda: client.send(image, info=camera_info(), reference=evidence))
        assert np.isfinite(depth_of(client.answer('depth/sigma', found.header.stamp))).any()
        return depth_of(found)

    host = metres()
    client.call('/depth_node/realign', Trigger)
    on_device(node)
    ours = metres()
    np.testing.assert_allclose(host, truth, rtol=1e-3)
    np.testing.assert_allclose(ours, host, rtol=1e-4)
    assert int(values_of(client.status('alignment'))['fits']) > 1


def test_a_network_that_gives_nan_is_rejected_not_published(run_node, constant_checkpoint, on_device):
    on_device()
    _, client = run_node(['relative/image'], **constant_checkpoint('v2-small', float('nan')))
    client.send(picture())
    client.wait_for(lambda: 'NaN' in client.status('frames').message, 'rejection')
    assert not client.received['relative/image']


def test_a_device_without_memory_is_told_and_the_next_frame_works(run_node, on_device, monkeypatch):
    on_device()
    _, client = run_node(['relative/image'])
    with monkeypatch.context() as patch:

        def refuse(*_):
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')

        patch.setattr(DeviceRender, '_plan', refuse)
        client.send(picture())
        client.wait_for(lambda: 'CUDA out of memory' in client.status('frames').message, 'failure')
        assert values_of(client.status('frames'))['failed'] == '1'
    client.answer('relative/image', client.send(picture()))
