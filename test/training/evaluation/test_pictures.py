"""Pictures show what is scored, in colours that can be told apart, and grey where nothing is known."""

import cv2
import numpy as np

from training.data.spec import DataSpec
from training.evaluation.pictures import picture_name, save_pictures
from training.evaluation.protocol import Protocol
from training.evaluation.scoring import score
from training.files import Folder


def pictures(world, folder, protocol, estimator, change=lambda sample: None):
    sample = world.sample('a', size=(60, 400))
    change(sample)
    prediction = estimator(sample.image)
    save_pictures(Folder(folder), ('m', 'd'), 7, sample, prediction, score(prediction, sample, protocol))
    found = {}
    for what, model in (('image', ''), ('truth', ''), ('prediction', 'm'), ('error', 'm')):
        path = folder / picture_name('d', 7, what, model)
        found[what] = cv2.imread(str(path)).astype(int) if path.exists() else None
    return found


def test_truth_prediction_and_error_share_the_size_and_the_unknown_is_grey(world, tmp_path):
    def halves(sample):
        sample.image[..., 0] = 255
        sample.image[:, :200, 0] = 40
        sample.depth[:] = 1.0 / (world.scale * sample.image[..., 0] + world.shift)
        sample.depth[:20] = np.nan

    found = pictures(world, tmp_path, Protocol(DataSpec('shards'), max_depth=80.0), world.Reading(), halves)
    assert {picture.shape for picture in found.values()} == {(48, 320, 3)}
    assert np.abs(found['truth'][4:12] - 110).max() < 20
    assert np.abs(found['error'][4:12] - 110).max() < 20
    # The same colours for the same depth, and the nearer half brighter.
    assert np.abs(found['truth'][20:, 20:140] - found['prediction'][20:, 20:140]).max() < 20
    assert found['truth'][20:, 180:].mean() > found['truth'][20:, :140].mean() + 50


def test_sparse_points_are_dots_that_are_seen(world, tmp_path):
    def one_point(sample):
        sample.points = np.array([[200.0, 30.0, 2.0], [20.0, 30.0, 4.0]], np.float32)

    protocol = Protocol(DataSpec('shards'), truth='points', max_depth=80.0, min_pixels=2)
    truth = pictures(world, tmp_path, protocol, world.Reading(), one_point)['truth']
    dots = np.abs(truth - 110).max(axis=2) > 40
    assert 2 * 9 <= np.count_nonzero(dots) <= 2 * 49
    assert dots[24, 160]


def test_pairs_are_drawn_green_where_right_and_red_where_wrong(world, tmp_path):
    def pair(sample):
        sample.image[..., 0] = np.linspace(1, 255, 400)[None]
        sample.meta['pairs'] = [[30, 380, 30, 20]]

    protocol = Protocol(DataSpec('da2k'), truth='pairs', alignment='none')
    right = pictures(world, tmp_path / 'right', protocol, world.Reading(), pair)
    wrong = pictures(world, tmp_path / 'wrong', protocol, world.Reading(lambda red, _: -red), pair)
    assert right['truth'] is right['error'] is None
    (blue, green, red), (_, other_green, other_red) = right['prediction'][24, 160], wrong['prediction'][24, 160]
    assert green > max(red, blue)
    assert other_red > other_green
