"""Strong perturbation is its author's; bad exposures do to an image what a camera's do."""

import colorsys

import cv2
import numpy as np
import pytest
import torch
from random_pictures import generator, picture
from torchvision.transforms.v2 import functional

from training.data.perturbation import brightness, contrast, degrade, hue, motion_blur, perturb, saturation


def test_perturbations_come_as_often_and_as_strong_as_in_unimatch():
    noise = generator(1).integers(0, 256, (32, 32, 3), np.uint8)
    chance = generator()
    found = [perturb(noise, chance) for _ in range(800)]
    grey = np.mean([np.ptp(image, axis=2).max() == 0 for image in found])
    same = np.mean([np.array_equal(image, noise) for image in found])
    assert grey == pytest.approx(0.2, abs=0.05)
    assert same == pytest.approx(0.08, abs=0.03)
    # A blur takes the contrast out of noise, from deviations of about half a pixel on.
    roughness = np.array([np.abs(np.diff(image.astype(float), axis=1)).mean() / (image.std() + 1) for image in found])
    assert np.mean(roughness < 0.75 * np.median(roughness)) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize(
    ('ours', 'theirs', 'levels'),
    [
        (brightness, functional.adjust_brightness, 1),
        (contrast, functional.adjust_contrast, 1),
        (saturation, functional.adjust_saturation, 2),
    ],
)
def test_colours_change_as_in_torchvision(ours, theirs, levels):
    image = picture()
    for amount in (0.5, 0.83, 1.0, 1.5):
        expected = theirs(torch.from_numpy(image).permute(2, 0, 1), amount).permute(1, 2, 0).numpy()
        assert np.abs(ours(image, amount).astype(int) - expected).max() <= levels


def test_the_hue_turns_and_brightness_and_saturation_stay():
    image = picture()
    for turn in (-0.25, -0.1, 0.0, 0.2):
        turned = hue(image, turn)
        for before, after in zip(image[::8, ::8].reshape(-1, 3), turned[::8, ::8].reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*before / 255)
            assert np.abs(np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255 - after).max() <= 8


@pytest.mark.parametrize('degrees', [0, 30, 90, 135])
def test_a_moved_point_becomes_a_line_of_that_length_and_angle(degrees):
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    length = 12.0
    weight = motion_blur(point, length, np.radians(degrees))[..., 0].astype(float)
    assert weight.sum() == pytest.approx(255, rel=0.1)
    row, column = np.mgrid[-20:21, -20:21]
    assert (weight * row).sum() == pytest.approx(0, abs=0.05 * weight.sum())
    assert (weight * column).sum() == pytest.approx(0, abs=0.05 * weight.sum())
    # Up is a smaller row.
    along = column * np.cos(np.radians(degrees)) - row * np.sin(np.radians(degrees))
    across = column * np.sin(np.radians(degrees)) + row * np.cos(np.radians(degrees))
    # A line's standard deviation is its length / sqrt(12); a pixel is as wide as one.
    assert np.sqrt((weight * along**2).sum() / weight.sum()) == pytest.approx(length / np.sqrt(12), abs=0.5)
    assert np.sqrt((weight * across**2).sum() / weight.sum()) < 0.6


def test_degraded_images_are_darker_brighter_blurred_noisy_and_compressed():
    grey = np.full((96, 128, 3), 100, np.uint8)
    chance = generator()
    found = [degrade(grey, chance) for _ in range(400)]
    assert (grey == 100).all()
    levels = np.array([image.mean() for image in found])
    assert np.mean(np.abs(levels - 100) < 2) == pytest.approx(0.5, abs=0.1)
    assert levels.min() < 20
    assert levels.max() > 200
    spread = np.array([image.std() for image in found])
    assert np.mean(spread > 1) == pytest.approx(0.5, abs=0.1)
    assert spread.max() < 27
    coloured = [np.ptp(image.astype(int), axis=2).max() > 2 for image in found]
    # A quarter have noise of colours, of half of which JPEG leaves next to nothing.
    assert 0.08 < np.mean(coloured) < 0.3
    sharp = picture()
    chance = generator()
    edges = [cv2.Laplacian(degrade(sharp, chance), cv2.CV_32F) for _ in range(400)]
    blurred = np.mean([np.abs(edge).mean() for edge in edges] < np.abs(cv2.Laplacian(sharp, cv2.CV_32F)).mean() * 0.5)
    assert 0.3 < blurred < 0.8
    assert all(image.dtype == np.uint8 and image.shape == grey.shape for image in found)
