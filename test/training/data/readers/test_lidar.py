"""Images with LiDAR sweeps: the points are where the camera saw them, lens and all."""

import numpy as np
import pytest
from pypcd4 import Encoding, PointCloud

from training.data.readers.lidar import LidarImages
from training.errors import BadSampleError, DataError

# The LiDAR looks along x with z up and sits 0.5 m above the camera, whose columns, rows and depth are -y, -z and x.
TO_CAMERA = 'T: 0 -1 0 0  0 0 -1 -0.5  1 0 0 0'
INTRINSICS = 'K: 20 0 16  0 20 12  0 0 1'
# Straight ahead of the camera at 10 m; 2 m to the left and 0.8 m below it at 8 m; behind; far outside; nowhere.
POINTS = [[10, 0, -0.5], [8, 2, -1.3], [-9, 0, 0], [1, 50, 0], [np.nan, 0, 0]]


def drive(layout, points=POINTS, encoding=Encoding.BINARY_COMPRESSED, text=(INTRINSICS, TO_CAMERA), name='day/1'):
    layout.image(f'{name}.png', (24, 32))
    layout.text(f'{name}.txt', *text)
    layout.write(f'{name}.pcd', b'')
    cloud = PointCloud.from_xyzi_points(np.array([[*point, 0.5] for point in points], np.float32))
    cloud.save(layout.root / f'{name}.pcd', encoding=encoding)


@pytest.mark.parametrize('encoding', list(Encoding))
def test_points_are_projected_and_those_outside_left_out(layout, encoding):
    drive(layout, encoding=encoding)
    layout.image('day/2.png')
    dataset = LidarImages(layout.root)
    assert [dataset.key(index) for index in range(len(dataset))] == ['day/1']
    assert np.allclose(dataset[0].points, [[16, 12, 10], [11, 14, 8]])
    assert dataset[0].depth is None
    assert dataset[0].meta['K'] == [[20, 0, 16], [0, 20, 12], [0, 0, 1]]
    assert dataset[0].meta['scene'] == 'day'


def test_the_lens_moves_points_and_its_polynomial_brings_none_back_from_outside(layout):
    # r = 0.25 at the second: it moves inwards by 1 - 0.4 * 0.0725; a point at r = 2 would be drawn to 2 - 3.2.
    drive(layout, [*POINTS, [1, -2, -0.5]], text=(INTRINSICS, 'D: -0.4 0 0 0', TO_CAMERA))
    found = LidarImages(layout.root)[0]
    squared = 0.25**2 + 0.1**2
    moved = 1 - 0.4 * squared
    assert np.allclose(found.points, [[16, 12, 10], [16 - 5 * moved, 12 + 2 * moved, 8]], atol=1e-4)
    # K alone would not be true of this image.
    assert 'K' not in found.meta


def test_what_cannot_be_used_says_why(layout):
    drive(layout, POINTS[2:])
    drive(layout, text=(INTRINSICS, 'D: 0.1', TO_CAMERA), name='day/2')
    drive(layout, text=('K: 20 0 x 0 20 12 0 0 1', TO_CAMERA), name='day/3')
    drive(layout, name='day/4')
    path = layout.root / 'day/4.pcd'
    path.write_bytes(path.read_bytes()[:-20])
    dataset = LidarImages(layout.root)
    for index, message in enumerate(
        ['no point of the sweep', 'D: with one of', 'K: holds no numbers', 'no whole PCD file']
    ):
        with pytest.raises(BadSampleError, match=rf'^day/{index + 1}: .*{message}'):
            dataset[index]


def test_a_folder_without_sweeps_says_what_is_expected(layout):
    layout.image('1.png')
    with pytest.raises(DataError, match=r'NAME\.pcd and NAME\.txt'):
        LidarImages(layout.root)
