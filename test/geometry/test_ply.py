import numpy as np
import pytest

from depth_anything_ros.geometry.ply import write_ply


def read_ply(path):
    """Vertices as a structured array, by the header alone."""
    header, data = path.read_bytes().split(b'end_header\n', 1)
    lines = header.decode('ascii').splitlines()
    assert lines[:2] == ['ply', 'format binary_little_endian 1.0']
    kinds = {'float': '<f4', 'uchar': 'u1'}
    fields = [(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith('property')]
    (count,) = (int(line.split()[2]) for line in lines if line.startswith('element vertex'))
    vertices = np.frombuffer(data, fields)
    assert len(vertices) == count
    return vertices


def test_points_and_colours_come_back(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    colors = np.arange(21, dtype=np.uint8).reshape(7, 3)
    write_ply(tmp_path / 'cloud.ply', points, colors)
    vertices = read_ply(tmp_path / 'cloud.ply')
    assert np.array_equal(np.stack([vertices[axis] for axis in 'xyz'], axis=1), points)
    assert np.array_equal(np.stack([vertices[name] for name in ('red', 'green', 'blue')], axis=1), colors)


@pytest.mark.parametrize('count', [0, 3])
def test_points_without_colours_have_three_properties(tmp_path, count):
    write_ply(tmp_path / 'cloud.ply', np.ones((count, 3), np.float32))
    assert read_ply(tmp_path / 'cloud.ply').dtype.names == ('x', 'y', 'z')


def test_wrong_shapes_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match='points'):
        write_ply(tmp_path / 'cloud.ply', np.ones((4, 2), np.float32))
    with pytest.raises(ValueError, match='colors'):
        write_ply(tmp_path / 'cloud.ply', np.ones((4, 3), np.float32), np.ones((4, 3), np.float32))
    assert not list(tmp_path.iterdir())
