import numpy as np
import pytest
from ply_files import read_ply

from depth_anything_ros.geometry.ply import write_ply


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
