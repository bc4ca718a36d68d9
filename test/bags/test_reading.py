"""Messages whose type has changed since they were recorded: Range has a variance since Iron."""

import sqlite3

import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from depth_anything_ros.bags.reading import InputBag
from depth_anything_ros.bags.writing import OutputBag

HUMBLE, LATEST, NOETIC = map(get_typestore, (Stores.ROS2_HUMBLE, Stores.LATEST, Stores.ROS1_NOETIC))
RANGE = 'sensor_msgs/msg/Range'


def sonar(types, **more):
    stamp = types.types['builtin_interfaces/msg/Time'](sec=7, nanosec=8)
    header = types.types['std_msgs/msg/Header'](**more.pop('header', {}), stamp=stamp, frame_id='sonar')
    numbers = {'radiation_type': 0, 'field_of_view': 0.5, 'min_range': 0.25, 'max_range': 8.0, 'range': 2.5}
    return types.types[RANGE](header=header, **numbers, **more)


def record(path, types, message, plugin):
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection('/sonar', RANGE, typestore=types)
        writer.write(connection, 1, types.serialize_cdr(message, RANGE))
    return path


def forget_definitions(path):
    """As Humble writes its SQLite bags."""
    with sqlite3.connect(next(path.glob('*.db3'))) as file:
        file.execute('DELETE FROM message_definitions')
    return path


def range_in(path):
    with InputBag(path) as bag:
        return bag.deserialize(bag.first('/sonar'))


@pytest.mark.parametrize('plugin', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_range_of_humble_is_read_by_the_bags_own_definition(tmp_path, plugin):
    found = range_in(record(tmp_path / 'bag', HUMBLE, sonar(HUMBLE), plugin))
    assert (found.header.frame_id, found.header.stamp.sec, found.range) == ('sonar', 7, 2.5)
    assert not hasattr(found, 'variance')


@pytest.mark.parametrize(('types', 'more'), [(HUMBLE, {}), (LATEST, {'variance': 0.125})], ids=['humble', 'latest'])
def test_a_range_in_a_bag_without_definitions_is_read(tmp_path, types, more):
    bag = forget_definitions(record(tmp_path / 'bag', types, sonar(types, **more), StoragePlugin.SQLITE3))
    found = range_in(bag)
    assert (found.header.frame_id, found.max_range, found.range) == ('sonar', 8.0, 2.5)
    assert getattr(found, 'variance', None) == more.get('variance')


def test_the_copy_of_a_bag_without_definitions_has_the_right_ones(tmp_path):
    bag = forget_definitions(record(tmp_path / 'bag', HUMBLE, sonar(HUMBLE), StoragePlugin.SQLITE3))
    with InputBag(bag) as source, OutputBag(tmp_path / 'copy', source.typestore) as copy:
        assert len(list(source.copy_to(copy))) == 1
    found = range_in(tmp_path / 'copy')
    assert found.range == 2.5
    assert not hasattr(found, 'variance')


def test_a_range_of_ros_1_becomes_one_of_today_in_reading_and_in_copying(tmp_path, capsys):
    path = tmp_path / 'in.bag'
    with Ros1Writer(path) as writer:
        connection = writer.add_connection('/sonar', RANGE, typestore=NOETIC)
        writer.write(connection, 1, NOETIC.serialize_ros1(sonar(NOETIC, header={'seq': 3}), RANGE))
    with InputBag(path) as source, OutputBag(tmp_path / 'copy', source.typestore) as copy:
        assert len(list(source.copy_to(copy))) == 1
    for found in (range_in(path), range_in(tmp_path / 'copy')):
        assert (found.header.frame_id, found.header.stamp.nanosec, found.range) == ('sonar', 8, 2.5)
        assert found.variance == 0.0
    assert not capsys.readouterr().out
