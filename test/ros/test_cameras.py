"""Several cameras in one node: each with its own topics, account and alignment, and one model for all."""

import threading
import weakref
from contextlib import ExitStack

import numpy as np
import pytest
from dds_client import (
    SMALL,
    Client,
    camera_info,
    depth_of,
    metres_of,
    picture,
    points_of,
    spinning,
    until_metres,
    values_of,
)
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import SetBool, Trigger

from depth_anything_ros.alignment.sources.depth import DepthSource
from depth_anything_ros.estimation import DepthEstimator, NonFinitePredictionError
from depth_anything_ros.node.depth_node import DepthNode
from depth_anything_ros.node.parameters import SettingsError
from depth_anything_ros.node.settings import Settings, declarations

METRES = 'v2-small-indoor'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TYPES = {'points': PointCloud2, 'depth/camera_info': CameraInfo}
WAIT_S = 20.0


class Camera:
    """A client of one camera's topics."""

    def __init__(self, name, image_topic, evidence_type, evidence_topic):
        self.name = name
        self.client = Client(image_topic, Image, evidence_type, evidence_topic)

    def wait_for_connections(self, node, listen):
        client = self.client
        ends = [client.images, client.infos, *([client.references] if hasattr(client, 'references') else ())]
        client.wait_for(lambda: all(end.get_subscription_count() for end in ends), f'subscribers of {self.name}')
        names = [f'{self.name}/{topic}' for topic in listen]
        client.wait_for(
            lambda: all(client.count_publishers(name) and node.count_subscribers(name) for name in names),
            f'publishers of {self.name}',
        )

    def send(self, image=None, **kwargs):
        return self.client.send(picture() if image is None else image, **kwargs)

    def listen(self, topic):
        self.client.listen(f'{self.name}/{topic}', TYPES.get(topic, Image))

    def received(self, topic):
        return self.client.received[f'{self.name}/{topic}']

    def answer(self, topic, stamp):
        return self.client.answer(f'{self.name}/{topic}', stamp)

    def status(self, which):
        return self.client.status(f'{self.name}: {which}')

    def counts(self):
        return values_of(self.status('frames'))

    def wait_for_count(self, what, number):
        self.client.wait_for(lambda: self.counts()[what] == str(number), f'{what} {number} of {self.name}')


@pytest.fixture
def run_cameras():
    """Start a node with cameras front and left, and a client for each; stops all at the end."""
    with ExitStack() as stack:

        def run(listen=(), topics=(), arguments=(), evidence_type=None, evidence_topics=(), **parameters):
            names = ('front', 'left')
            settings = {**SMALL, 'diagnostic_updater.period': 0.1, 'cameras': list(names), **parameters}
            node = DepthNode(
                parameter_overrides=[Parameter(name, value=value) for name, value in settings.items()],
                cli_args=['--ros-args', *arguments] if arguments else None,
            )
            topics = topics or [f'{name}/image' for name in names]
            evidence_topics = evidence_topics or [f'{name}/scale_reference' for name in names]
            cameras = [
                Camera(name, topic, evidence_type, evidence)
                for name, topic, evidence in zip(names, topics, evidence_topics, strict=True)
            ]
            for camera in cameras:
                for topic in listen:
                    camera.listen(topic)
            assert node.start()
            stack.enter_context(spinning(node, *(camera.client for camera in cameras)))
            for camera in cameras:
                camera.wait_for_connections(node, listen)
            front, left = cameras
            left.client.wait_for(lambda: node.count_subscribers('/diagnostics') == 2, 'subscribers of diagnostics')
            return node, front, left

        yield run


@pytest.fixture
def batching(monkeypatch):
    """What is true of a GPU, on this CPU."""
    monkeypatch.setattr(DepthEstimator, 'batches', True)


class Rounds:
    """Stands before the estimator: keeps what is predicted together, and holds the first back until let go."""

    def __init__(self, node, monkeypatch):
        self.batches = []
        self._predict = node._estimator.predict
        self._started, self._go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(node._estimator, 'predict', self)

    def __call__(self, images, **kwargs):
        self.batches.append(images)
        self._started.set()
        assert self._go_on.wait(WAIT_S)
        return self.predict(images, **kwargs)

    def predict(self, images, **kwargs):
        return self._predict(images, **kwargs)

    def together(self, first, *sends):
        """Let the others come while the first is in work; returns all stamps."""
        stamps = [first()]
        assert self._started.wait(WAIT_S)
        for camera, send in sends:
            received = int(camera.counts()['received'])
            stamps.append(send())
            camera.wait_for_count('received', received + 1)
        self._go_on.set()
        return stamps


def alone(image):
    return DepthEstimator(**SMALL)(image).values


def test_each_camera_gives_its_own_depth_with_its_own_header_and_intrinsics(run_cameras, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/camera_info', 'points']
    _, front, left = run_cameras(topics, **constant_checkpoint(METRES, 0.0), **{'points.stride': 1})
    of_front, of_left = camera_info(48, 64, 50.0), camera_info(60, 60, 70.0)
    stamps = (
        front.send(picture(48, 64), info=of_front, frame_id='front_optical_frame'),
        left.send(picture(60, 60), info=of_left, frame_id='left_optical_frame'),
    )
    for camera, stamp, info in zip((front, left), stamps, (of_front, of_left), strict=True):
        depth, published = camera.answer('depth/image_rect', stamp), camera.answer('depth/camera_info', stamp)
        cloud = camera.answer('points', stamp)
        assert {message.header.frame_id for message in (depth, published, cloud)} == {f'{camera.name}_optical_frame'}
        np.testing.assert_allclose(depth_of(depth), np.full((info.height, info.width), 10.0), rtol=1e-5)
        np.testing.assert_array_equal(published.k, info.k)
        right = (info.width - 1 - info.k[2]) / info.k[0]
        assert points_of(cloud)[:, 0].max() == pytest.approx(10.0 * right, rel=1e-4)
        assert len(camera.received('depth/image_rect')) == 1


def test_a_camera_does_not_wait_for_another(run_cameras):
    _, front, _ = run_cameras(['relative/image'])
    for _ in range(3):
        front.answer('relative/image', front.send())
    assert front.counts()['replaced by a newer frame'] == '0'


def test_frames_of_one_size_that_wait_together_are_one_batch_and_each_gets_its_own(batching, run_cameras, monkeypatch):
    node, front, left = run_cameras(['relative/image'])
    rounds, images = Rounds(node, monkeypatch), [picture(seed=seed) for seed in range(3)]
    stamps = rounds.together(
        lambda: front.send(images[0]),
        (left, lambda: left.send(images[1])),
        (front, lambda: front.send(picture(seed=9))),
        (front, lambda: front.send(images[2])),
    )
    for camera, stamp, image in ((front, stamps[0], 0), (left, stamps[1], 1), (front, stamps[3], 2)):
        values = depth_of(camera.answer('relative/image', stamp))
        np.testing.assert_allclose(values, alone(images[image]), rtol=1e-3, atol=1e-3)
    assert [len(batch) for batch in rounds.batches] == [1, 2]
    # The account of what was replaced is its own camera's.
    front.wait_for_count('processed', 2)
    left.wait_for_count('processed', 1)
    assert (front.counts()['replaced by a newer frame'], left.counts()['replaced by a newer frame']) == ('1', '0')


def test_a_cpu_takes_one_frame_at_a_time_of_the_camera_that_waits_longest(run_cameras, monkeypatch):
    node, front, left = run_cameras(['relative/image'])
    rounds, images = Rounds(node, monkeypatch), [picture(seed=seed) for seed in range(4)]
    stamps = rounds.together(
        lambda: front.send(images[0]),
        (left, lambda: left.send(images[1])),
        (front, lambda: front.send(images[2])),
        (left, lambda: left.send(images[3])),
    )
    front.answer('relative/image', stamps[2])
    left.answer('relative/image', stamps[3])
    for batch, expected in zip(rounds.batches, (images[0], images[3], images[2]), strict=True):
        np.testing.assert_array_equal(batch, [expected])


def test_frames_of_two_cameras_are_worked_on_side_by_side_where_that_pays(run_cameras, monkeypatch):
    node, front, left = run_cameras(['relative/image'])
    monkeypatch.setattr(DepthEstimator, 'parallel', 2)
    predict, both, in_work = node._estimator.predict, threading.Barrier(2), []

    def predict_together(images, **kwargs):
        both.wait(WAIT_S)
        in_work.append(images)
        if images[0].max() == 77:
            raise RuntimeError('no memory')
        return predict(images, **kwargs)

    monkeypatch.setattr(node._estimator, 'predict', predict_together)
    images = [picture(seed=seed) for seed in range(3)]
    stamps = front.send(images[0]), left.send(images[1])
    for camera, stamp, image in zip((front, left), stamps, images, strict=False):
        values = depth_of(camera.answer('relative/image', stamp))
        np.testing.assert_allclose(values, alone(image), rtol=1e-3, atol=1e-3)
    # One that fails does not harm the other, and its camera goes on.
    stamps = front.send(np.full((48, 64, 3), 77, np.uint8)), left.send(images[2])
    left.answer('relative/image', stamps[1])
    front.wait_for_count('failed', 1)
    stamps = front.send(images[1]), left.send(images[0])
    front.answer('relative/image', stamps[0])
    left.answer('relative/image', stamps[1])
    assert [len(images) for images in in_work] == [1] * 6


def test_two_frames_of_one_camera_are_never_in_work_at_once(run_cameras, monkeypatch):
    node, front, left = run_cameras(['relative/image'])
    monkeypatch.setattr(DepthEstimator, 'parallel', 2)
    rounds = Rounds(node, monkeypatch)
    stamps = rounds.together(front.send, (front, front.send), (front, front.send))
    front.answer('relative/image', stamps[2])
    assert len(rounds.batches) == 2
    assert front.counts()['replaced by a newer frame'] == '1'
    left.answer('relative/image', left.send())


def test_frames_of_different_sizes_that_wait_together_are_predicted_one_after_the_other(
    batching, run_cameras, monkeypatch
):
    node, front, left = run_cameras(['relative/image'])
    rounds = Rounds(node, monkeypatch)
    stamps = rounds.together(
        front.send, (left, lambda: left.send(picture(60, 60))), (front, lambda: front.send(picture(48, 64)))
    )
    assert left.answer('relative/image', stamps[1]).height == 60
    assert front.answer('relative/image', stamps[2]).height == 48
    assert [[image.shape[0] for image in batch] for batch in rounds.batches] == [[48], [60], [48]]


def test_what_a_failed_batch_held_is_free_when_its_images_are_predicted_alone(batching, run_cameras, monkeypatch):
    node, front, left = run_cameras(['relative/image'])

    class Fails(Rounds):
        held, alive = None, ()

        def predict(self, images, **kwargs):
            if len(images) > 1:
                memory = np.zeros(1)
                self.held = weakref.ref(memory)
                raise RuntimeError('out of memory')
            if self.held is not None:
                self.alive = (*self.alive, self.held() is not None)
            return super().predict(images, **kwargs)

    rounds = Fails(node, monkeypatch)
    stamps = rounds.together(front.send, (left, left.send), (front, front.send))
    left.answer('relative/image', stamps[1])
    front.answer('relative/image', stamps[2])
    assert rounds.alive == (False, False)


def test_every_frame_that_came_is_in_the_account_when_the_node_rests(batching, run_cameras, monkeypatch):
    node, front, left = run_cameras(['relative/image'])
    predict, begun, permits = node._estimator.predict, threading.Semaphore(0), threading.Semaphore(0)

    def held_back(images, **kwargs):
        begun.release()
        assert permits.acquire(timeout=WAIT_S)
        return predict(images, **kwargs)

    monkeypatch.setattr(node._estimator, 'predict', held_back)
    front.send()
    assert begun.acquire(timeout=WAIT_S)
    left.send(picture(60, 60))
    left.wait_for_count('received', 1)
    front.send()
    front.wait_for_count('received', 2)
    permits.release()
    # The second round: left's frame in work, front's decoded, and its next one in the slot.
    assert begun.acquire(timeout=WAIT_S)
    front.send()
    front.wait_for_count('received', 3)
    stopping = threading.Thread(target=node.trigger_deactivate)
    stopping.start()
    front.wait_for_count('skipped', 1)
    permits.release()
    stopping.join(WAIT_S)
    front.wait_for_count('skipped', 2)
    left.wait_for_count('processed', 1)
    counts = front.counts()
    assert (counts['received'], counts['processed'], counts['replaced by a newer frame']) == ('3', '1', '0')
    assert left.counts()['skipped'] == '0'


@pytest.mark.parametrize(('batches', 'parallel'), [(False, 1), (False, 2), (True, 1)])
def test_a_camera_that_floods_the_node_does_not_starve_the_other(run_cameras, monkeypatch, batches, parallel):
    monkeypatch.setattr(DepthEstimator, 'batches', batches)
    monkeypatch.setattr(DepthEstimator, 'parallel', parallel)
    _, front, left = run_cameras(['relative/image'])
    done = threading.Event()

    def flood():
        while not done.wait(0.01):
            front.send()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(5):
            left.answer('relative/image', left.send())
    finally:
        done.set()
        thread.join()
    assert left.counts()['replaced by a newer frame'] == '0'
    assert int(front.counts()['replaced by a newer frame']) > 0


BAD = np.full((48, 64, 3), 77, np.uint8)


def undecodable():
    message = Image(encoding='nonsense', height=48, width=64, step=192)
    message.data = bytes(48 * 192)
    return message


@pytest.mark.parametrize(
    ('bad', 'error', 'counted'),
    [
        (undecodable, None, 'rejected'),
        (lambda: BAD, NonFinitePredictionError('NaN in the output'), 'rejected'),
        (lambda: BAD, RuntimeError('out of memory'), 'failed'),
    ],
    ids=['undecodable', 'NaN', 'exception'],
)
def test_a_bad_image_of_one_camera_does_not_harm_the_other_beside_it(
    batching, run_cameras, monkeypatch, bad, error, counted
):
    node, front, left = run_cameras(['relative/image'])

    class Fails(Rounds):
        def predict(self, images, **kwargs):
            if any(np.array_equal(image, BAD) for image in images):
                raise error
            return super().predict(images, **kwargs)

    rounds = Fails(node, monkeypatch)
    image = picture(seed=1)
    stamps = rounds.together(left.send, (front, lambda: front.send(bad())), (left, lambda: left.send(image)))
    values = depth_of(left.answer('relative/image', stamps[2]))
    np.testing.assert_allclose(values, alone(image), rtol=1e-3, atol=1e-3)
    front.wait_for_count(counted, 1)
    assert front.status('frames').level == DiagnosticStatus.ERROR
    left.wait_for_count('processed', 2)
    counts = left.counts()
    assert (counts['rejected'], counts['failed']) == ('0', '0')
    front.answer('relative/image', front.send())


def test_a_camera_that_nobody_listens_to_is_skipped_and_the_other_is_not(run_cameras):
    _, front, left = run_cameras()
    front.listen('relative/image')
    front.client.wait_for(lambda: front.client.count_publishers('front/relative/image'), 'publisher')

    def both():
        left.send()
        front.client.answer('front/relative/image', front.send())
        return left.counts()['skipped'] != '0'

    front.client.wait_for(both, 'a skipped frame')
    assert left.counts()['processed'] == '0'
    front.client.wait_for(lambda: front.counts()['processed'] != '0', 'count')


def test_the_alignment_of_one_camera_does_not_touch_the_other(run_cameras):
    topics = ['relative/image', 'depth/image_color', 'depth/image_rect']
    settings = {
        'alignment.source': 'depth',
        'alignment.max_age_s': 60.0,
        'edge.threshold': 0.0,
        'range.max_m': 100.0,
    }
    _, front, left = run_cameras(topics, evidence_type=Image, **settings)
    image = picture()
    truth = metres_of(depth_of(front.answer('relative/image', front.send(image))))

    def metres(camera, factor):
        send = lambda: camera.send(image, reference=truth * np.float32(factor))  # noqa: E731
        return depth_of(until_metres(camera.client, send, prefix=f'{camera.name}/'))

    np.testing.assert_allclose(metres(front, 1.0), truth, rtol=5e-3)
    left.answer('depth/image_color', left.send(image))
    assert left.status('alignment').level == DiagnosticStatus.ERROR
    assert front.status('alignment').level == DiagnosticStatus.OK
    assert not left.received('depth/image_rect')
    np.testing.assert_allclose(metres(left, 3.0), truth * 3.0, rtol=5e-3)

    said = {camera: [] for camera in (front, left)}
    for camera, messages in said.items():
        camera.client.create_subscription(DiagnosticArray, f'{camera.name}/alignment', messages.append, LATCHED)
        (status,) = camera.client.wait_for(lambda messages=messages: messages, 'latched message')[-1].status
        assert status.name == f'depth_node: {camera.name}: alignment'
    scales = [float(values_of(messages[-1].status[0])['scale']) for messages in said.values()]
    assert scales[0] == pytest.approx(3.0 * scales[1], rel=0.02)

    assert front.client.call('/depth_node/front/hold', SetBool, data=True).success
    assert 'held' in front.status('alignment').message
    assert left.status('alignment').level == DiagnosticStatus.OK
    assert left.client.call('/depth_node/left/realign', Trigger).success
    left.answer('depth/image_color', left.send(image))
    assert 'realigned' in left.status('alignment').message
    np.testing.assert_allclose(depth_of(front.answer('depth/image_rect', front.send(image))), truth, rtol=5e-3)
    assert own_services(front.client) == {'enable', 'front/realign', 'front/hold', 'left/realign', 'left/hold'}


def own_services(client):
    """Of the node, without those that every lifecycle node has."""
    names = (name for name, _ in client.get_service_names_and_types())
    ours = (name.removeprefix('/depth_node/') for name in names if name.startswith('/depth_node/'))
    return {name for name in ours if name.rpartition('/')[2] in ('enable', 'realign', 'hold')}


def test_inputs_are_remapped_one_by_one_and_calibration_stays_beside_its_image(run_cameras, constant_checkpoint):
    settings = {**constant_checkpoint(METRES, 0.0), 'points.stride': 1}
    _, front, left = run_cameras(
        ['points'],
        topics=['front/image', 'side/image_rect'],
        arguments=['-r', 'left/image:=side/image_rect'],
        **settings,
    )
    info = camera_info()
    info.p[0] = info.p[5] = 40.0
    reach = {}
    for camera in (front, left):
        stamp = camera.send(info=info)
        reach[camera] = points_of(camera.answer('points', stamp))[:, 0].max()
    assert reach[front] == pytest.approx(10.0 * 31.5 / 50.0, rel=1e-4)
    assert reach[left] == pytest.approx(10.0 * 31.5 / 40.0, rel=1e-4)
    assert 'K and D' in values_of(front.status('camera'))['projection']
    assert 'P, rectified' in values_of(left.status('camera'))['projection']


def test_one_sensor_may_be_the_evidence_of_all_cameras(run_cameras, monkeypatch):
    # A source whose topic is the whole robot's, and not each camera's.
    monkeypatch.setattr(DepthSource, 'topics', property(lambda _: {'/lidar': 'sensor_msgs/msg/Image'}))
    settings = {'alignment.source': 'depth'}
    _, front, _ = run_cameras(evidence_type=Image, evidence_topics=['/lidar', '/lidar'], **settings)
    assert front.client.count_subscribers('/lidar') == 2


def test_the_node_is_disabled_and_deactivated_with_all_its_cameras(run_cameras):
    node, front, left = run_cameras(['relative/image'])
    assert front.client.call('/depth_node/enable', SetBool, data=False).success
    for camera in (front, left):
        camera.send()
        camera.wait_for_count('skipped', 1)
        assert 'disabled' in camera.status('frames').message
    assert front.client.call('/depth_node/enable', SetBool, data=True).success
    left.answer('relative/image', left.send())
    node.trigger_deactivate()
    for camera in (front, left):
        for which in ('frames', 'camera', 'alignment'):
            assert camera.status(which).message == 'not active'
        assert camera.client.images.get_subscription_count() == 0
    names = [status.name for status in left.client.diagnostics[-1].status]
    assert names.count('depth_node: model') == 1
    assert len(set(names)) == 7


@pytest.mark.parametrize(
    ('names', 'reason'),
    [
        (['front', 'front'], "'front' twice"),
        (['front', ''], "has ''"),
        (['', ''], "has ''"),
        (['2nd'], 'digit'),
        (['front/left'], 'letters, digits and underscores'),
        (['~front'], 'letters, digits and underscores'),
        (['vorwärts'], 'letters, digits and underscores'),
        (['front left'], 'letters, digits and underscores'),
    ],
    ids=lambda value: ','.join(value) if isinstance(value, list) else '',
)
def test_a_name_that_topics_cannot_have_is_refused_with_the_reason(names, reason):
    defaults = {declaration.name: declaration.default for declaration in declarations()}
    with pytest.raises(SettingsError, match=reason):
        Settings.read({**defaults, 'cameras': names})


def test_one_pose_for_several_cameras_is_refused():
    defaults = {declaration.name: declaration.default for declaration in declarations()}
    pose = {**defaults, 'alignment.extrinsics': [0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]}
    with pytest.raises(SettingsError, match=r'one pose.*each of the 2 cameras'):
        Settings.read({**pose, 'cameras': ['front', 'left']})
    assert Settings.read({**pose, 'cameras': ['front']}).fixed_transforms is not None


@pytest.mark.parametrize('empty', ['[]', '[""]'])
def test_without_names_there_is_one_camera_with_the_bare_topics(run_node, empty):
    _, client = run_node(['relative/image'], arguments=['-p', f'cameras:={empty}'])
    client.answer('relative/image', client.send(picture()))
    names = [status.name for status in client.diagnostics[-1].status]
    assert names == [f'depth_node: {which}' for which in ('frames', 'model', 'alignment', 'camera')]
    client.wait_for(lambda: own_services(client) == {'enable', 'realign', 'hold'}, 'services')


def test_the_cameras_of_a_running_node_stay(run_cameras):
    node, _, _ = run_cameras()
    (result,) = node.set_parameters([Parameter('cameras', value=['front'])])
    assert not result.successful
    assert 'read-only' in result.reason
