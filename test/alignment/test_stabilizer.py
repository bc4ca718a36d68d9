"""Flicker of the disparity, and what is no flicker."""

from itertools import pairwise

import numpy as np
import pytest

from depth_anything_ros.alignment import Stabilizer

MS = 1_000_000
RANDOM = np.random.default_rng(0)
SCENE = (2.0 + np.add.outer(np.sin(np.arange(120) / 9.0), np.cos(np.arange(160) / 7.0))).astype(np.float32)


def flickering(count, gain=0.05, offset=0.1, noise=0.0):
    for i in range(count):
        a, b = 1.0 + gain * RANDOM.standard_normal(), offset * RANDOM.standard_normal()
        yield i * 33 * MS, (a * SCENE + b + noise * RANDOM.standard_normal(SCENE.shape)).astype(np.float32)


def change(frames):
    """Mean change of a pixel from frame to frame."""
    return np.mean([np.abs(b - a).mean() for a, b in pairwise(frames)])


def test_affine_flicker_of_a_still_scene_goes_away():
    stabilize = Stabilizer(10.0)
    before, after = zip(*((frame, stabilize(stamp, frame)) for stamp, frame in flickering(60)), strict=True)
    assert change(after) < 0.02 * change(before)


def test_it_is_still_close_to_what_came_in():
    stabilize = Stabilizer(1.0)
    for stamp, frame in flickering(300, noise=0.05):
        out = stabilize(stamp, frame)
    # No fading, no drift away, even after 300 links of the chain.
    assert np.std(out) == pytest.approx(np.std(SCENE), rel=0.1)
    assert np.mean(out) == pytest.approx(np.mean(SCENE), abs=0.15)


def test_the_first_frame_and_one_after_a_cut_are_as_they_came():
    stabilize = Stabilizer(5.0)
    frames = list(flickering(3))
    np.testing.assert_array_equal(stabilize(*frames[0]), frames[0][1])
    stabilize(*frames[1])
    elsewhere = RANDOM.random(SCENE.shape).astype(np.float32)
    np.testing.assert_array_equal(stabilize(99 * MS, elsewhere), elsewhere)


@pytest.mark.parametrize('gap_ms', [-5000, 1500])
def test_time_that_jumps_starts_anew_and_says_from_where(gap_ms):
    stabilize = Stabilizer(5.0)
    stabilize(10_000 * MS, SCENE)
    stabilize(10_033 * MS, 1.1 * SCENE)
    assert stabilize.given_up is None
    np.testing.assert_array_equal(stabilize((10_033 + gap_ms) * MS, 1.2 * SCENE), 1.2 * SCENE)
    assert stabilize.given_up[0] == pytest.approx(1.0 / 1.1, rel=0.01)
    stabilize((10_066 + gap_ms) * MS, 1.2 * SCENE)
    assert stabilize.given_up is None


@pytest.mark.parametrize('step_ms', [0, -33])
def test_a_frame_that_comes_twice_or_late_is_one_of_the_chain(step_ms):
    stabilize = Stabilizer(1000.0)
    stabilize(10_000 * MS, SCENE)
    stabilize(10_033 * MS, 1.1 * SCENE)
    np.testing.assert_allclose(stabilize((10_033 + step_ms) * MS, 1.2 * SCENE), SCENE, rtol=1e-3)


def test_another_image_size_starts_anew():
    stabilize = Stabilizer(5.0)
    stabilize(0, SCENE)
    smaller = np.ascontiguousarray(1.1 * SCENE[::2, ::2])
    np.testing.assert_array_equal(stabilize(33 * MS, smaller), smaller)


def test_what_moves_in_a_part_of_the_image_moves_nothing_else():
    stabilize = Stabilizer(10.0)
    stabilize(0, SCENE)
    nearer = SCENE.copy()
    nearer[20:80, 30:90] += 1.5
    out = stabilize(33 * MS, nearer)
    np.testing.assert_allclose(out[90:], SCENE[90:], rtol=0.01)
    np.testing.assert_allclose(out[20:80, 30:90], nearer[20:80, 30:90], rtol=0.01)


def test_a_slow_approach_is_let_through():
    stabilize = Stabilizer(0.5)
    for i in range(150):
        gain = 1.01 ** min(i, 60)
        out = stabilize(i * 33 * MS, np.float32(gain) * SCENE)
    # Three seconds after it ended nothing of it is left to come.
    np.testing.assert_allclose(out, np.float32(1.01**60) * SCENE, rtol=0.02)


def test_a_jump_of_the_scale_beyond_any_flicker_is_a_cut():
    stabilize = Stabilizer(1000.0)
    stabilize(0, SCENE)
    np.testing.assert_allclose(stabilize(33 * MS, 1.8 * SCENE), SCENE, rtol=1e-3)
    np.testing.assert_array_equal(stabilize(66 * MS, 6.0 * SCENE), 6.0 * SCENE)


def test_a_constant_image_does_no_harm():
    stabilize = Stabilizer(5.0)
    flat = np.full((40, 50), 3.0, np.float32)
    for i in range(3):
        np.testing.assert_array_equal(stabilize(i * 33 * MS, flat + i), flat + i)


def test_off_is_off():
    stabilize = Stabilizer(0.0)
    for stamp, frame in flickering(3):
        assert stabilize(stamp, frame) is frame


def test_where_stamps_stand_still_nothing_is_taken_away():
    stabilize = Stabilizer(0.3)
    # The camera comes nearer, and nobody can say how fast.
    frames = [(1.0 + 0.02 * i) * SCENE for i in range(20)]
    seen = [stabilize(0, frame) for frame in frames]
    for frame, out in list(zip(frames, seen, strict=True))[4:]:
        np.testing.assert_array_equal(out, frame)


def test_a_frame_that_comes_twice_is_stabilised_twice():
    stabilize = Stabilizer(10.0)
    for stamp, frame in flickering(20):
        once = stabilize(stamp, frame)
        np.testing.assert_allclose(stabilize(stamp, frame), once, rtol=1e-4, atol=1e-5)
