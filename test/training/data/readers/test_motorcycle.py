"""The stereo scene that a pip package brings: its metres, and what is unknown in it."""

import numpy as np
import pytest

from training.data.readers.motorcycle import Motorcycle
from training.errors import BadSampleError, DataError

skimage_data = pytest.importorskip('skimage.data', reason='scikit-image brings the scene')


def test_depth_follows_from_the_disparity_and_the_published_calibration():
    image, _, disparity = skimage_data.stereo_motorcycle()
    data = Motorcycle()
    assert len(data) == 1
    sample = data[0]
    assert np.array_equal(sample.image, image)
    known = np.isfinite(disparity)
    assert np.array_equal(np.isfinite(sample.depth), known)
    # Published: focal length 994.978 px, baseline 193.001 mm, offset 31.086 px.
    assert sample.depth[known] * (disparity[known] + 31.086) == pytest.approx(994.978 * 0.193001, rel=1e-5)
    # A workshop, as people see it in the image: the bench behind is farther than the front wheel.
    assert 2 < np.nanmin(sample.depth) < np.nanmax(sample.depth) < 6
    assert np.reshape(sample.meta['K'], (3, 3)) == pytest.approx(
        np.array([[994.978, 0, 311.193], [0, 994.978, 254.877], [0, 0, 1]])
    )


def test_a_folder_without_it_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(DataError, match=r'motorcycle_left\.png'):
        Motorcycle(tmp_path)
    (tmp_path / 'motorcycle_left.png').write_bytes(b'')
    (tmp_path / 'motorcycle_disp.npz').write_bytes(b'PK\x03\x04')
    with pytest.raises(BadSampleError, match=r'motorcycle_disp\.npz'):
        Motorcycle(tmp_path)[0]
