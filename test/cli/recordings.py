"""Bags made of messages, and read back."""

from pathlib import Path

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

TYPES = get_typestore(Stores.LATEST)
ROS1_TYPES = get_typestore(Stores.ROS1_NOETIC)
for _name in ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage'):
    ROS1_TYPES.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', _name))
START_NS, PERIOD_NS, LATENCY_NS = 1_700_000_000_000_000_000, 100_000_000, 7_000_000
HEIGHT, WIDTH = 48, 64
K = [60.0, 0, 31, 0, 61, 25, 0, 0, 1]


def stamp_ns(index):
    return START_NS + index * PERIOD_NS


def header(index, types=TYPES, frame='camera_optical_frame', offset_ns=0):
    sec, nanosec = divmod(stamp_ns(index) + offset_ns, 1_000_000_000)
    stamp = types.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
    extra = {'seq': max(index, 0)} if types is ROS1_TYPES else {}
    return types.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame, **extra)


def image(index, array, encoding='rgb8', types=TYPES, **stamped):
    return types.types['sensor_msgs/msg/Image'](
        header=header(index, types, **stamped),
        height=array.shape[0],
        width=array.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=array.strides[0],
        data=np.frombuffer(array.tobytes(), np.uint8),
    )


def compressed(index, array):
    data = cv2.imencode('.png', cv2.cvtColor(array, cv2.COLOR_RGB2BGR))[1].ravel()
    return TYPES.types['sensor_msgs/msg/CompressedImage'](header=header(index), format='png', data=data)


def camera_info(index, types=TYPES, d=(0.0,) * 5, k=K, width=WIDTH):
    upper = types is ROS1_TYPES
    matrices = {
        'd': np.array(d),
        'k': np.array(k, float),
        'r': np.eye(3).ravel(),
        'p': np.hstack([np.reshape(k, (3, 3)), np.zeros((3, 1))]).ravel().astype(float),
    }
    return types.types['sensor_msgs/msg/CameraInfo'](
        header=header(index, types),
        height=HEIGHT,
        width=width,
        distortion_model='plumb_bob',
        **{name.upper() if upper else name: value for name, value in matrices.items()},
        binning_x=0,
        binning_y=0,
        roi=types.types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )


def text(value, types=TYPES):
    return types.types['std_msgs/msg/String'](data=value)


def record(path, messages, plugin=StoragePlugin.SQLITE3):
    """Write (topic, log time, message or bytes) as a rosbag2 folder."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, time_ns, message in messages:
            kind, data = message if isinstance(message, tuple) else (message.__msgtype__, None)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], time_ns, TYPES.serialize_cdr(message, kind) if data is None else data)
    return path


def record_ros1(path, messages):
    with Ros1Writer(path) as writer:
        connections = {}
        for topic, time_ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=ROS1_TYPES)
            writer.write(connections[topic], time_ns, ROS1_TYPES.serialize_ros1(message, kind))
    return path


def cloud(index, points, types=TYPES, frame='lidar', **stamped):
    """points: float32 (N, 3)."""
    field = types.types['sensor_msgs/msg/PointField']
    return types.types['sensor_msgs/msg/PointCloud2'](
        header=header(index, types, frame=frame, **stamped),
        height=1,
        width=len(points),
        fields=[field(name=name, offset=4 * i, datatype=7, count=1) for i, name in enumerate('xyz')],
        is_bigendian=False,
        point_step=12,
        row_step=12 * len(points),
        data=np.frombuffer(np.asarray(points, '<f4').tobytes(), np.uint8),
        is_dense=True,
    )


def scan(index, ranges, angle_min, angle_increment, frame='laser', **stamped):
    return TYPES.types['sensor_msgs/msg/LaserScan'](
        header=header(index, frame=frame, **stamped),
        angle_min=angle_min,
        angle_max=angle_min + angle_increment * (len(ranges) - 1),
        angle_increment=angle_increment,
        time_increment=0.0,
        scan_time=0.0,
        range_min=0.01,
        range_max=1000.0,
        ranges=np.asarray(ranges, np.float32),
        intensities=np.empty(0, np.float32),
    )


def sonar(index, metres, frame='sonar'):
    return TYPES.types['sensor_msgs/msg/Range'](
        header=header(index, frame=frame),
        radiation_type=0,
        field_of_view=0.2,
        min_range=0.1,
        max_range=50.0,
        range=metres,
        variance=0.0,
    )


def imu(index, acceleration, frame='camera_optical_frame'):
    """acceleration: x, y, z in m/s^2; there is no orientation."""
    vector = TYPES.types['geometry_msgs/msg/Vector3']
    unknown = np.zeros(9)
    unknown[0] = -1.0
    return TYPES.types['sensor_msgs/msg/Imu'](
        header=header(index, frame=frame),
        orientation=TYPES.types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0),
        orientation_covariance=unknown,
        angular_velocity=vector(0.0, 0.0, 0.0),
        angular_velocity_covariance=np.zeros(9),
        linear_acceleration=vector(*map(float, acceleration)),
        linear_acceleration_covariance=np.zeros(9),
    )


def transforms(index, *poses, types=TYPES, kind='tf2_msgs/msg/TFMessage'):
    """poses: (parent, child, (x, y, z), quaternion x, y, z, w)."""
    t = types.types
    return t[kind](
        transforms=[
            t['geometry_msgs/msg/TransformStamped'](
                header=header(index, types, frame=parent),
                child_frame_id=child,
                transform=t['geometry_msgs/msg/Transform'](
                    translation=t['geometry_msgs/msg/Vector3'](*map(float, position)),
                    rotation=t['geometry_msgs/msg/Quaternion'](*map(float, quaternion)),
                ),
            )
            for parent, child, position, quaternion in poses
        ]
    )


def read(path):
    """Raw messages by topic: lists of (log time, bytes, message)."""
    found = {}
    with AnyReader([Path(path)], default_typestore=TYPES) as reader:
        for connection, time_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype) if connection.msgdef.data else None
            found.setdefault(connection.topic, []).append((time_ns, bytes(data), message))
    return found


def values(message):
    assert message.encoding == '32FC1'
    assert message.step == 4 * message.width
    return message.data.view(np.float32).reshape(message.height, message.width)


def xyz(message):
    assert message.is_dense
    return np.stack(
        [message.data.view(np.float32).reshape(-1, message.point_step // 4)[:, axis] for axis in range(3)], axis=1
    )


def assert_copied(original, copy):
    """Every message of the first bag is in the second, bit for bit and with its log time."""
    for topic, messages in read(original).items():
        assert [item[:2] for item in copy[topic]] == [item[:2] for item in messages], topic


def content(found):
    """A header's fields: the classes of two type stores are never equal."""
    return found.stamp.sec, found.stamp.nanosec, found.frame_id


def last_line(capsys):
    return capsys.readouterr().err.splitlines()[-1]
