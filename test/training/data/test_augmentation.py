"""Views: image and target stay in register, and what perturbs or degrades touches the image alone."""

import cv2
import numpy as np
import pytest
import torch
from random_pictures import generator, picture

from depth_anything_ros.estimation.preprocessing import network_size, preprocess
from training.data import Sample
from training.data.augmentation import TrainView, covering_size, normalise
from training.errors import BadSampleError


def coordinates(height, width):
    """An image whose red is the column and whose green is the row, 0 to 255, and targets that say the same."""
    row, column = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing='ij')
    image = np.rint(np.stack([column, row, np.full_like(row, 90)], 2)).astype(np.uint8)
    return image, column.astype(np.float32), row.astype(np.float32)


def scene(**values):
    return Sample(**{'key': 'a', 'image': picture(), 'depth': np.full((96, 128), 2.0, np.float32), **values})


@pytest.mark.parametrize('crop', [56, (56, 84), (84, 56)])
@pytest.mark.parametrize('size', [(60, 80), (480, 640), (300, 96), (37, 53), (56, 84)])
def test_target_and_image_stay_in_register_through_resizing_cropping_and_mirroring(size, crop):
    image, column, row = coordinates(*size)
    biases = []
    for seed in range(6):
        found = [TrainView(crop)(Sample('a', image, disparity=target), generator(seed)) for target in (column, row)]
        # Levels per pixel of the view, and one for the rounding of the image.
        shown = covering_size(*size, TrainView(crop).shape, 14)
        for channel, (example, side) in enumerate(zip(found, (shown[1], shown[0]), strict=True)):
            error = example.image[..., channel].astype(float) - example.target
            pixel, own = 255 / side, 255 / size[1 - channel]
            assert np.abs(error).max() < 0.6 * max(pixel, own) + 2
            biases.append(error.mean() / pixel)


def test_half_of_the_views_are_mirrored_and_every_place_is_cropped():
    image, column, _ = coordinates(60, 120)
    chance = generator()
    targets = np.array([TrainView(28)(Sample('a', image, disparity=column), chance).target for _ in range(400)])
    mirrored = targets[:, 0, 0] > targets[:, 0, -1]
    assert mirrored.mean() == pytest.approx(0.5, abs=0.08)
    assert targets.min() < 6
    assert targets.max() > 249
    centre = TrainView(28, crop='centre', flip=0.0)
    a, b = (centre(Sample('a', image, disparity=column), generator(seed)).target for seed in (1, 2))
    assert np.array_equal(a, b)
    assert a.mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize('size', [(480, 640), (375, 1242), (1080, 1920), (240, 424), (518, 518), (701, 500)])
def test_the_size_is_that_of_inference_and_covers_crops_of_any_shape(size):
    assert covering_size(*size, (518, 518), 14) == network_size(*size, 518, 14)
    for crop in ((256, 320), (320, 256), (64, 512)):
        height, width = covering_size(*size, crop, 32)
        assert height >= crop[0]
        assert width >= crop[1]
        assert height == crop[0] or width == crop[1]
        assert width / height == pytest.approx(size[1] / size[0], rel=32 / min(crop))


def test_the_network_sees_in_training_what_it_sees_at_inference_but_for_8_bits():
    image = cv2.GaussianBlur(picture(120, 160), (0, 0), 2)
    example = TrainView((84, 112), flip=0.0)(scene(image=image, depth=np.ones((120, 160), np.float32)), generator())
    expected = preprocess([image], (84, 112), torch.device('cpu'))
    seen = normalise(example.image)
    assert (seen - expected[0]).abs().max() < 1.01 / (255 * 0.224)
    assert (seen - expected[0]).abs().mean() < 0.3 / (255 * 0.224)
    assert seen.shape == (3, 84, 112)
    assert seen.dtype == torch.float32


def test_unknown_pixels_are_masked_and_the_sky_is_far():
    depth = np.full((96, 128), 4.0, np.float32)
    depth[:48], depth[48:60], depth[60:66] = np.inf, np.nan, 0.0
    valid = np.ones((96, 128), bool)
    valid[90:] = False
    view = TrainView((96, 128), multiple=32, flip=0.0)
    example = view(scene(depth=depth, valid=valid), generator())
    assert example.mask[:, 0].tolist() == [True] * 48 + [False] * 18 + [True] * 24 + [False] * 6
    assert np.unique(example.target[:48]) == 0
    assert np.unique(example.target[66:90]) == 0.25
    assert np.isfinite(example.target).all()
    masked = TrainView((96, 128), multiple=32, flip=0.0, mask_sky=True)(scene(depth=depth), generator())
    assert not masked.mask[:66].any()
    assert masked.mask[66:].all()


def test_metric_targets_are_metres_within_a_range():
    depth = np.repeat(np.array([0.05, 0.5, 5, 50, np.inf, np.nan], np.float32), 16)[:, None] * np.ones(128, np.float32)
    view = TrainView((96, 128), multiple=32, target='depth', flip=0.0, min_depth=0.1, max_depth=20.0)
    valid = np.ones((96, 128), bool)
    valid[:, 100:] = False
    example = view(scene(depth=depth, valid=valid), generator())
    assert example.mask[8::16, 0].tolist() == [False, True, True, False, False, False]
    assert np.allclose(example.target[8::16, 0], [0, 0.5, 5, 0, 0, 0])
    assert not example.mask[:, 100:].any()
    for bad in (scene(depth=None, disparity=depth), scene(meta={'scale': 'arbitrary'})):
        with pytest.raises(BadSampleError, match=r'^a: no depth in metres'):
            view(bad, generator())


def test_zoom_shows_parts_in_register_of_images_that_have_the_pixels_for_it():
    image, column, row = coordinates(240, 320)
    shown = []
    for seed in range(40):
        view = TrainView((64, 64), multiple=32, flip=0.0, zoom=0.5)
        found = [view(Sample('a', image, disparity=target), generator(seed)) for target in (column, row)]
        for channel, example in enumerate(found):
            assert np.abs(example.image[..., channel].astype(float) - example.target).max() < 5
        # Of the rows, all of which are in a view without zoom.
        shown.append(np.ptp(found[1].target) / 255)
    assert min(shown) < 0.55
    assert max(shown) > 0.9
    assert 0.68 < np.mean(shown) < 0.82
    small = Sample('a', image[::5, ::5].copy(), disparity=row[::5, ::5].copy())
    for seed in range(10):
        close = TrainView((64, 64), multiple=32, flip=0.0, zoom=0.5)(small, generator(seed))
        assert np.ptp(close.target) == np.ptp(small.disparity)
    with pytest.raises(ValueError, match='zoom is a share of the sides, got 0'):
        TrainView(56, zoom=0)


@pytest.mark.parametrize(('size', 'zoom'), [((240, 320), 1.0), ((240, 320), 0.6), ((64, 96), 1.0)])
def test_a_turned_view_is_of_the_same_picture_and_all_of_it_inside(size, zoom):
    image, column, row = coordinates(*size)
    y, x = np.mgrid[0:64, 0:96]
    plane = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    angles = []
    for seed in range(60):
        view = TrainView((64, 96), multiple=32, flip=0.0, zoom=zoom, roll=20.0)
        found = [view(Sample('a', image, disparity=target), generator(seed)) for target in (column, row)]
        for channel, example in enumerate(found):
            assert example.mask.all()
            assert np.abs(example.image[..., channel].astype(float) - example.target).max() < 1.2 * 255 / 63 + 1
            # Nothing is repeated at the edges: it goes on evenly to the last pixel.
            fit = np.linalg.lstsq(plane, example.target.ravel(), rcond=None)[0]
            assert np.abs(plane @ fit - example.target.ravel()).max() < 1.2 * 255 / 63 + 1
        along = np.linalg.lstsq(plane, found[0].target.ravel() * size[1], rcond=None)[0]
        down = np.linalg.lstsq(plane, found[1].target.ravel() * size[0], rcond=None)[0]
        angles.append(np.degrees(np.arctan2(-along[1], along[0])))
        assert np.degrees(np.arctan2(down[0], down[1])) == pytest.approx(angles[-1], abs=0.5)
    assert max(np.abs(angles)) < 20.5
    assert min(angles) < -15
    assert max(angles) > 15


def test_a_border_hides_the_same_of_image_and_target():
    image, column, _ = coordinates(96, 128)
    shares, colours = [], []
    for seed in range(60):
        sample = Sample('a', image, disparity=column)
        without = TrainView((96, 128), multiple=32, clean=True)(sample, generator(seed))
        example = TrainView((96, 128), multiple=32, clean=True, border=1.0)(sample, generator(seed))
        hidden = ~example.mask
        assert np.array_equal(example.image[~hidden], without.image[~hidden])
        assert np.array_equal(example.target, np.where(hidden, 0, without.target))
        assert np.array_equal(example.image, example.clean)
        shares.append(hidden.mean())
        if hidden.any():
            (colour,) = np.unique(example.image[hidden], axis=0)
            colours.append(tuple(colour))
        # The middle is always there.
        assert example.mask[30:66, 40:88].all()
    assert 0.1 < np.mean(shares) < 0.25
    assert 0.4 < np.mean([colour == (0, 0, 0) for colour in colours]) < 0.8
    assert (255, 255, 255) in colours
    some = [TrainView((96, 128), multiple=32, border=0.3)(sample, generator(seed)).mask.all() for seed in range(200)]
    assert 0.6 < np.mean(some) < 0.8


@pytest.mark.parametrize(
    ('name', 'value'), [('roll', -1.0), ('roll', 91.0), ('border', 1.5), ('degrade', float('nan'))]
)
def test_what_is_no_angle_or_probability_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        TrainView(56, **{name: value})


def test_points_become_the_nearest_depth_in_each_pixel_of_the_view():
    # A view half as large as the image: its pixel (10, 20) is the image's rows 20, 21 and columns 40, 41.
    points = [[40, 20, 8.0], [41, 21, 4.0], [0, 0, 2.0], [127.4, 95.4, 5.0], [140, 3, 1], [3, -4, 1], [5, 5, np.nan]]
    points += [[60, 60, 0.0], [80, 40, 2.5]]
    valid = np.ones((96, 128), bool)
    valid[40, 80] = False
    sample = scene(depth=None, points=np.array(points, np.float32), valid=valid)
    example = TrainView((48, 64), multiple=16, flip=0.0)(sample, generator())
    assert np.argwhere(example.mask).tolist() == [[0, 0], [10, 20], [47, 63]]
    assert np.allclose(example.target[example.mask], [0.5, 0.25, 0.2])
    metres = TrainView((48, 64), multiple=16, flip=0.0, target='depth', max_depth=4.5)(sample, generator())
    assert np.argwhere(metres.mask).tolist() == [[0, 0], [10, 20]]
    assert np.allclose(metres.target[metres.mask], [2, 4])


def test_samples_without_a_target_and_ribbons_are_bad():
    with pytest.raises(BadSampleError, match=r'^a: no disparity, depth or points'):
        TrainView(56)(scene(depth=None), generator())
    ribbon = Sample('a', np.zeros((10, 90, 3), np.uint8), depth=np.ones((10, 90), np.float32))
    with pytest.raises(BadSampleError, match='8 to 1'):
        TrainView(56)(ribbon, generator())


@pytest.mark.parametrize(
    'values', [{'size': 60}, {'size': 0}, {'target': 'x'}, {'crop': 'x'}, {'flip': 2}, {'min_depth': 3, 'max_depth': 2}]
)
def test_views_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r'crop|target|flip|depth'):
        TrainView(**{'size': 56, **values})


def test_the_strong_view_changes_the_image_and_nothing_else():
    depth = generator(5).uniform(1, 9, (96, 128)).astype(np.float32)
    changed = 0
    for seed in range(20):
        weak = TrainView(56, clean=True)(scene(depth=depth), generator(seed))
        strong = TrainView(56, strong=True, clean=True)(scene(depth=depth), generator(seed))
        assert np.array_equal(weak.target, strong.target)
        assert np.array_equal(weak.mask, strong.mask)
        assert np.array_equal(weak.image, weak.clean)
        assert np.array_equal(weak.clean, strong.clean)
        changed += not np.array_equal(strong.image, strong.clean)
    # 0.2 * 0.8 * 0.5 = 8 % stay as they are.
    assert 14 <= changed <= 20


def test_bad_exposures_are_of_the_image_alone_and_as_often_as_asked():
    depth = generator(5).uniform(1, 9, (96, 128)).astype(np.float32)
    changed = 0
    for seed in range(100):
        as_it_is = TrainView(56)(scene(depth=depth), generator(seed))
        degraded = TrainView(56, degrade=0.4, clean=True)(scene(depth=depth), generator(seed))
        assert np.array_equal(as_it_is.image, degraded.clean)
        assert np.array_equal(as_it_is.target, degraded.target)
        changed += not np.array_equal(degraded.image, degraded.clean)
    # Of the degraded ones, one of 16 is let alone.
    assert 25 <= changed <= 50


def test_the_image_of_the_sample_is_left_as_it_was():
    image = picture()
    sample, before = scene(image=image), image.copy()
    for seed in range(5):
        TrainView((96, 128), multiple=32, strong=True, degrade=1.0, clean=True)(sample, generator(seed))
    assert np.array_equal(sample.image, before)
