"""The official preprocessing rule."""

import cv2
import numpy as np
import pytest
import torch

from depth_anything_ros.estimation import ImageShapeError, network_size, preprocess
from depth_anything_ros.estimation.preprocessing import preprocess_with_torch

CPU = torch.device('cpu')


# (width, height) of the camera and of what the network sees; reference values of the official code.
@pytest.mark.parametrize(
    ('camera', 'network'),
    [
        ((640, 480), (686, 518)),
        ((1242, 375), (1722, 518)),
        ((1280, 720), (924, 518)),
        ((1920, 1080), (924, 518)),
        ((848, 480), (910, 518)),
        # Smaller than 518 in both sides, where a common port of the rule goes wrong.
        ((424, 240), (910, 518)),
        ((320, 240), (686, 518)),
        ((672, 376), (924, 518)),
        # Portrait, and square.
        ((480, 640), (518, 686)),
        ((100, 100), (518, 518)),
    ],
)
def test_the_shorter_side_becomes_518_for_large_and_small_cameras(camera, network):
    assert network_size(camera[1], camera[0], 518, 14) == network[::-1]


@pytest.mark.parametrize('size', [(480, 640), (719, 1281), (99, 333), (1, 1), (518, 519)])
@pytest.mark.parametrize('input_size', [14, 126, 252, 518])
def test_each_side_is_a_multiple_and_none_is_below_the_input_size(size, input_size):
    seen = network_size(*size, input_size, 14)
    assert all(side % 14 == 0 and side >= input_size for side in seen)
    assert min(seen) == input_size


@pytest.mark.parametrize('size', [(10, 100), (1, 4000), (100, 10)])
def test_a_ribbon_is_refused_before_it_takes_the_memory(size):
    with pytest.raises(ImageShapeError, match='8 to 1'):
        network_size(*size, 518, 14)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageShapeError, match='no pixels'):
        network_size(0, 5, 518, 14)


@pytest.mark.parametrize('size', [(60, 80), (37, 53), (126, 168), (720, 1280)])
def test_pixels_are_the_official_float64_ones_to_a_fraction_of_a_grey_level(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    height, width = network_size(*size, 126, 14)
    resized = cv2.resize(image / 255.0, (width, height), interpolation=cv2.INTER_CUBIC)
    official = ((resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
    # A grey level is 0.017; on noise, the worst there is. In float64 it takes three times as long.
    np.testing.assert_allclose(preprocess([image], (height, width), CPU)[0], official, atol=5e-4)


@pytest.mark.parametrize('size', [(60, 80), (240, 424), (37, 53)])
def test_the_gpu_way_of_resizing_is_the_cpu_way(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    seen = network_size(*size, 126, 14)
    found = preprocess_with_torch(torch.from_numpy(image)[None], seen)
    np.testing.assert_allclose(found, preprocess([image], seen, CPU), atol=5e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
def test_preprocessing_on_the_gpu_gives_the_cpu_result():
    image = np.random.default_rng(0).integers(0, 256, (240, 424, 3), np.uint8)
    seen = network_size(240, 424, 126, 14)
    on_gpu = preprocess([image], seen, torch.device('cuda')).cpu()
    np.testing.assert_allclose(on_gpu, preprocess([image], seen, CPU), atol=5e-4)
