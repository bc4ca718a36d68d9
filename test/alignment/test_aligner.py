"""Which alignment holds when: evidence and frames in time."""

import numpy as np
import pytest

from depth_anything_ros.alignment import (
    Aligner,
    AlignerSettings,
    Alignment,
    EvidenceError,
    FrameSource,
    Prior,
    Samples,
    View,
    make_source,
)

MS = 1_000_000
SCALE, SHIFT = 0.5, 0.1
FRAME = 'camera_optical_frame'
# Smooth, and as far as near, like a room.
DISPARITY = (1.0 + np.add.outer(np.sin(np.arange(60) / 9.0), np.cos(np.arange(80) / 7.0)) / 2.5).astype(np.float32)
DEPTH = 1.0 / (SCALE * DISPARITY + SHIFT)
NOISE = np.random.default_rng(0)


@pytest.fixture
def world(depth_message):
    """An aligner on registered depth images, and how frames and evidence get into it."""

    class World:
        def __init__(self, source='depth', parameters=None, **settings):
            self.aligner = Aligner(make_source(source, parameters), AlignerSettings(**settings))

        def evidence(self, milliseconds, depth=DEPTH, **message):
            return self.aligner.add_message('scale_reference', depth_message(depth, milliseconds * MS, **message))

        def frame(self, milliseconds, disparity=DISPARITY, **view):
            view = View(disparity, stamp_ns=milliseconds * MS, frame_id=FRAME, **view)
            return self.aligner.align(view)

        @property
        def state(self):
            return self.aligner.state

    return World


def noisy(scale=SCALE, shift=SHIFT, noise=0.02):
    """True depth for another scale and shift, with the noise of a sensor."""
    return (1.0 + noise * NOISE.standard_normal(DISPARITY.shape)) / (scale * DISPARITY + shift)


def test_evidence_of_the_same_moment_makes_metres(world):
    made = world()
    made.evidence(100)
    frame = made.frame(100)
    np.testing.assert_allclose(frame.depth, DEPTH, rtol=1e-4)
    assert made.state.fits == 1
    assert made.state.problem == ''


def test_without_evidence_there_are_no_metres_and_a_reason(world):
    made = world()
    frame = made.frame(0)
    assert frame.depth is None
    assert frame.sigma() is None
    np.testing.assert_array_equal(frame.disparity, DISPARITY)
    assert made.state.problem == 'no evidence yet'


def test_evidence_that_comes_late_is_matched_with_the_frame_of_its_moment(world):
    made = world()
    made.frame(100)
    made.evidence(100)
    # By now the camera sees something else; only the earlier frame fits the evidence.
    alignment = made.frame(400, DISPARITY[::-1]).alignment
    assert alignment.scale == pytest.approx(SCALE, rel=1e-4)
    assert alignment.stamp_ns == 100 * MS


def test_evidence_a_second_late_still_finds_its_frame_at_30_hz(world):
    made = world()
    for i in range(31):
        made.frame(round(i * 33.3), DISPARITY + 0.1 * i)
    made.evidence(0, 1.0 / (SCALE * DISPARITY + SHIFT))
    made.frame(1033)
    assert made.state.fits == 1


def test_evidence_that_comes_early_waits_for_its_frame(world):
    made = world()
    made.evidence(500)
    assert made.frame(100, DISPARITY[::-1]).depth is None
    assert made.frame(500).alignment.scale == pytest.approx(SCALE, rel=1e-4)


def test_evidence_waits_while_a_slow_network_works_on_its_frame(world):
    made = world()
    made.aligner.expect(100 * MS)
    made.evidence(100)
    for late in range(200, 5000, 10):
        made.evidence(late, DEPTH[::-1])
    assert made.frame(100).alignment.scale == pytest.approx(SCALE, rel=1e-4)
    assert made.state.problem == ''


def test_of_several_pieces_of_evidence_the_nearest_in_time_counts(world):
    made = world()
    made.evidence(70, DEPTH[::-1])
    made.evidence(101)
    made.evidence(140, DEPTH[::-1])
    assert made.frame(100).alignment.stamp_ns == 101 * MS
    assert made.state.refused == 0


def test_evidence_of_another_moment_is_not_used(world):
    made = world(max_time_difference_s=0.05)
    made.evidence(100)
    assert made.frame(200).depth is None
    assert made.state.unmatched == 1
    assert '0.100 s' in made.state.problem


def test_evidence_faster_than_frames_measures_each_frame_once(world):
    made = world()
    made.evidence(0)
    made.frame(0)
    made.evidence(40)
    made.frame(100)
    assert made.state.fits == 1
    # Nothing was learnt of the frame yet if the evidence could not be used.
    made.evidence(100, np.full_like(DEPTH, np.nan))
    made.frame(200)
    made.evidence(140)
    made.frame(300)
    assert (made.state.fits, made.state.refused) == (2, 1)


def test_evidence_with_a_clock_that_is_ahead_is_told(world):
    early = 'evidence waits that is stamped 3 s later than this frame: synchronise the clocks'
    made = world(max_age_s=1.0)
    for late in (2900, 3000, 3100):
        made.evidence(late)
    assert made.frame(0).depth is None
    assert made.state.problem == early
    # What has come while the network worked is rightly later.
    made = world(max_age_s=1.0)
    made.aligner.expect(0)
    made.evidence(3000)
    made.frame(0)
    assert made.state.problem == 'no evidence yet'
    # One that is lost over it, too.
    made = world(max_age_s=1.0)
    made.evidence(0)
    made.frame(0)
    made.evidence(5000)
    made.frame(2000)
    assert made.state.problem.endswith(f'more than alignment.max_age_s; {early}')


@pytest.mark.parametrize('period', [100, 1500])
def test_evidence_that_was_there_seconds_before_its_frame_is_of_another_moment(world, monkeypatch, period):
    """What a clock that is 3 s ahead stamps fits a frame that was taken 3 s later: another scene, wrong metres."""
    made, now = world(), [0.0]
    monkeypatch.setattr('depth_anything_ros.alignment.aligner.monotonic', lambda: now[0])
    for milliseconds in range(0, 20_000, period):
        now[0] = milliseconds / 1000
        made.evidence(milliseconds + 3000)
        # Until somebody subscribes no frame is in work.
        if milliseconds >= 9000:
            made.aligner.expect(milliseconds * MS)
            assert made.frame(milliseconds).depth is None
    assert made.state.unmatched > 0
    assert 'the last evidence came 3 s before the frame of its stamp' in made.state.problem


def test_evidence_of_a_frame_that_waited_for_a_slow_network_is_used(world, monkeypatch):
    made, now = world(), [0.0]
    monkeypatch.setattr('depth_anything_ros.alignment.aligner.monotonic', lambda: now[0])
    for number in range(4):
        now[0] = 5.0 * number
        made.aligner.expect(5000 * number * MS - 4900 * MS, now[0] - 4.9)
        made.evidence(5000 * number + 100)
        assert (made.frame(5000 * number - 4900).depth is not None) == (number > 0)


def test_evidence_of_another_frame_is_not_used_and_both_are_named(world):
    made = world()
    made.evidence(0, frame_id='depth_optical_frame')
    assert made.frame(0).depth is None
    assert 'depth_optical_frame' in made.state.problem
    assert FRAME in made.state.problem
    made.evidence(100, frame_id='')
    made.aligner.align(View(DISPARITY, stamp_ns=100 * MS, frame_id=''))
    assert 'empty frame_id' in made.state.problem
    trusting = world(parameters={'any_frame': True})
    trusting.evidence(0, frame_id='depth_optical_frame')
    assert trusting.frame(0).depth is not None


def test_evidence_of_another_size_is_of_the_pixels_that_it_covers(depth_message):
    source = make_source('depth', {'max_samples': 400})
    # Of half the size, but for what rounding does to proportions; each pixel its number.
    numbers = np.arange(1.0, 1.0 + 30 * 40).reshape(30, 40)
    evidence = source.read('scale_reference', depth_message(numbers))
    samples = source.measure(evidence, View(np.ones((60, 81), np.float32), frame_id=FRAME))
    rows, columns = np.divmod(samples.depth_m.astype(int) - 1, 40)
    np.testing.assert_allclose(samples.pixels[:, 0], (columns + 0.5) * (81 / 40) - 0.5)
    np.testing.assert_allclose(samples.pixels[:, 1], (rows + 0.5) * 2.0 - 0.5)
    assert 200 <= len(samples.depth_m) <= 400


def test_an_old_alignment_ends_and_says_so(world):
    made = world(max_age_s=1.0)
    made.evidence(0)
    assert made.frame(0).depth is not None
    assert made.frame(1000).depth is not None
    assert made.state.age_s == pytest.approx(1.0)
    assert made.frame(1001).depth is None
    assert 'alignment.max_age_s' in made.state.problem
    # What was true before the gap has no say after it.
    made.evidence(2000, noisy(3.0 * SCALE))
    assert made.frame(2000).alignment.scale == pytest.approx(3.0 * SCALE, rel=0.02)


def test_limits_may_change_without_losing_the_alignment(world):
    made = world(max_age_s=1.0)
    made.evidence(0)
    made.frame(0)
    made.aligner.settings = AlignerSettings(max_age_s=10.0)
    assert made.frame(5000).depth is not None


def test_uncertainty_grows_while_evidence_is_missing(world):
    made = world(max_age_s=10.0)
    made.evidence(0, noisy())
    fresh = made.frame(0).sigma()
    old = made.frame(4000).sigma()
    assert (old > fresh).all()
    # Random walk of 10 % in a second: 20 % in four.
    assert np.median(old / made.frame(4000).depth) == pytest.approx(0.2, rel=0.5)


def test_time_that_goes_back_forgets_the_alignment(world):
    made = world()
    made.evidence(60_000)
    assert made.frame(60_000).depth is not None
    assert made.frame(1_000).depth is None
    assert 'time went back' in made.state.problem


def test_a_refused_fit_keeps_the_one_before_and_tells(world):
    made = world()
    made.evidence(0)
    good = made.frame(0).alignment
    made.evidence(100, np.full_like(DEPTH, np.nan))
    kept = made.frame(100).alignment
    assert (kept.scale, kept.shift) == (good.scale, good.shift)
    assert made.state.refused == 1
    assert 'depth samples' in made.state.problem


def test_evidence_that_cannot_be_read_is_refused_with_the_topic(world, depth_message):
    made = world()
    broken = depth_message(DEPTH)
    broken.encoding = 'rgb8'
    reason = made.aligner.add_message('scale_reference', broken)
    assert reason.startswith('scale_reference: ')
    assert 'rgb8' in reason
    assert made.frame(0).depth is None
    assert made.state.problem == reason
    assert made.state.refused == 1


def test_evidence_that_the_disparity_does_not_explain_is_refused(world):
    # The slope is there, and next to nothing of it is seen.
    inverse = SCALE * DISPARITY + SHIFT + 0.4 * NOISE.standard_normal(DEPTH.shape)
    for least, believed in ((0.3, False), (0.05, True)):
        made = world(min_explained=least)
        made.evidence(0, 1.0 / np.maximum(inverse, 0.02))
        assert (made.frame(0).depth is not None) == believed
        assert made.state.refused == (not believed)
        assert ('alignment.min_explained = 0.3' in made.state.problem) == (not believed)


@pytest.mark.parametrize('wild', [3.0, 1.0 / 3.0])
def test_a_single_wild_fit_moves_nothing_and_is_told(world, wild):
    made = world()
    for i in range(10):
        made.evidence(100 * i, noisy())
        made.frame(100 * i)
    made.evidence(1000, noisy(wild * SCALE, wild * SHIFT))
    assert made.frame(1000).alignment.scale == pytest.approx(SCALE, rel=0.01)
    assert made.state.gated == 1
    assert 'held back' in made.state.problem
    made.evidence(1100, noisy())
    assert made.frame(1100).alignment.scale == pytest.approx(SCALE, rel=0.01)
    assert made.state.problem == ''


@pytest.mark.parametrize('change', [4.0, 1.5, 0.25])
def test_a_lasting_change_is_followed_within_three_fits(world, change):
    made = world()
    for i in range(10):
        made.evidence(100 * i, noisy())
        made.frame(100 * i)
    for i in range(10, 13):
        made.evidence(100 * i, noisy(change * SCALE, change * SHIFT))
        aligned = made.frame(100 * i)
    assert aligned.alignment.scale == pytest.approx(change * SCALE, rel=0.02)
    assert made.state.problem == ''


def test_noise_of_single_fits_is_averaged(world):
    made = world(drift=0.01, min_samples=3)
    single, tracked = [], []
    for i in range(60):
        sparse = np.where(NOISE.random(DEPTH.shape) < 0.01, noisy(noise=0.1), np.nan)
        made.evidence(100 * i, sparse)
        tracked.append(made.frame(100 * i).alignment.scale)
        alone = world(min_samples=3)
        alone.evidence(0, sparse)
        single.append(alone.frame(0).alignment.scale)
    assert np.std(tracked[20:]) < 0.5 * np.std(single)


def test_one_depth_only_corrects_that_depth_and_is_told(world):
    made = world()
    made.evidence(0, noisy(noise=0.001))
    made.frame(0)
    wall = np.full_like(DISPARITY, 1.2)
    made.evidence(1000, 1.0 / (1.1 * (SCALE * wall + SHIFT)))
    aligned = made.frame(1000, wall)
    assert 'at one depth' in made.state.problem
    assert np.median(aligned.depth) * (SCALE * 1.2 + SHIFT) == pytest.approx(1.0 / 1.1, rel=0.01)
    # Elsewhere nothing was learnt, and the uncertainty says so.
    far = np.float32(0.2)
    assert aligned.alignment.sigma(far) / aligned.alignment.depth(far) > 0.1


@pytest.mark.parametrize('seen', ['flat', 'unrelated'])
def test_a_disparity_that_says_nothing_is_no_wall(world, seen):
    """Dirt on the lens: what is measured is at many depths, and what is seen tells nothing of them."""
    made = world()
    for i in range(5):
        made.evidence(100 * i, noisy())
        made.frame(100 * i)
    good = made.state.current
    random = np.random.default_rng(1)
    for i in range(5, 20):
        truth = random.uniform(1.0, 10.0, (6, 8)).repeat(10, axis=0).repeat(10, axis=1)
        noise = 0.02 * random.standard_normal(DISPARITY.shape)
        blind = 1.0 + noise if seen == 'flat' else random.permutation(DISPARITY.ravel()).reshape(DISPARITY.shape)
        made.evidence(100 * i, truth)
        kept = made.frame(100 * i, blind.astype(np.float32)).alignment
        assert (kept.scale, kept.shift) == (good.scale, good.shift)
        assert 'different scenes' in made.state.problem or 'nearer' in made.state.problem
    assert made.frame(2600).depth is None


def test_before_a_wall_for_long_nothing_nearer_has_metres(world):
    made = world(drift=0.3)
    for i in range(5):
        made.evidence(100 * i, noisy(noise=0.001))
        made.frame(100 * i)
    wall = np.full_like(DISPARITY, 0.3)
    for i in range(5, 200):
        made.evidence(100 * i, np.full_like(DISPARITY, 1.0 / (SCALE * 0.3 + SHIFT)))
        made.frame(100 * i, wall)
    assert made.state.current is not None
    somebody = wall.copy()
    somebody[:, :20] = 2.0
    made.evidence(20_000, np.where(somebody > 1.0, np.nan, 1.0 / (SCALE * 0.3 + SHIFT)))
    assert made.frame(20_000, somebody).depth is None
    assert 'only one depth has been measured for long' in made.state.problem
    # As soon as something says how near that is, there are.
    made.evidence(20_100, 1.0 / (SCALE * somebody + SHIFT))
    assert made.frame(20_100, somebody).depth is not None


def test_one_depth_only_is_refused_at_the_start(world):
    made = world()
    wall = np.full_like(DISPARITY, 1.2)
    made.evidence(0, 1.0 / (SCALE * wall + SHIFT))
    assert made.frame(0, wall).depth is None
    assert 'one disparity' in made.state.problem


def test_evidence_far_away_only_does_not_say_how_near_the_near_things_are(world):
    made = world()
    far = np.percentile(DISPARITY, 2) > DISPARITY
    made.evidence(0, np.where(far, noisy(noise=0.1), np.nan))
    assert made.frame(0).depth is None
    assert 'several depths' in made.state.problem


def test_realign_forgets_and_the_next_evidence_decides(world):
    made = world()
    made.evidence(0)
    made.frame(0)
    made.aligner.realign()
    assert made.state.current is None
    assert made.frame(100).depth is None
    made.evidence(200, noisy(5.0 * SCALE))
    assert made.frame(200).alignment.scale == pytest.approx(5.0 * SCALE, rel=0.02)


def test_a_held_alignment_neither_follows_nor_ages_and_warns(world):
    made = world(max_age_s=1.0)
    assert 'no alignment' in made.aligner.hold(True)
    made.evidence(0)
    made.frame(0)
    assert made.aligner.hold(True) == ''
    made.evidence(100, noisy(2.0 * SCALE))
    made.frame(100)
    made.evidence(8000)
    assert not made.aligner.is_waiting_for(8000 * MS)
    assert made.frame(9000).alignment.scale == pytest.approx(SCALE, rel=1e-3)
    assert made.state.held
    assert 'held' in made.state.problem
    made.aligner.hold(False)
    assert made.frame(9100).depth is None


@pytest.mark.parametrize('source', ['depth', 'fixed'])
def test_a_hold_outlasts_a_stamp_that_goes_back(world, source):
    made = world(source, {'scale': SCALE, 'shift': SHIFT} if source == 'fixed' else None)
    evidence = made.evidence if source == 'depth' else lambda *_: None
    evidence(0)
    made.frame(0)
    assert made.aligner.hold(True) == ''
    for milliseconds in (100, 60_000, 200, 300, 400, 500):
        evidence(milliseconds, noisy(2.0 * SCALE))
        np.testing.assert_allclose(made.frame(milliseconds).depth, DEPTH, rtol=1e-3)
    assert made.state.held
    assert 'held' in made.state.problem


@pytest.mark.parametrize('held', [False, True], ids=['followed', 'held'])
@pytest.mark.parametrize('end', ['a gap', 'switched off', 'another size'])
def test_where_the_stabilizer_ends_its_chain_the_alignment_knows_what_that_did(world, end, held):
    made = world(stabilizer_s=1000.0)
    for i in range(30):
        # The network's scale and shift wander, and the stabilizer takes that out.
        seen = DISPARITY * np.float32(0.98**i) + np.float32(0.02 * i)
        made.evidence(100 * i)
        before = made.frame(100 * i, seen)
    assert np.abs(before.disparity / seen - 1.0).max() > 0.1
    if held:
        assert made.aligner.hold(True) == ''
    later, truth = 3000, DEPTH
    if end == 'a gap':
        later = 4500
    elif end == 'switched off':
        made.aligner.settings = AlignerSettings()
    else:
        seen, truth = seen[::2, ::2], DEPTH[::2, ::2]
    after = made.frame(later, seen)
    np.testing.assert_array_equal(after.disparity, seen)
    np.testing.assert_allclose(after.depth, truth, rtol=0.02)
    assert made.state.held == held
    # And the evidence after it agrees.
    made.evidence(later + 100, truth)
    np.testing.assert_allclose(made.frame(later + 100, seen).depth, truth, rtol=0.02)
    assert made.state.gated == 0


def test_a_held_alignment_is_begun_anew_all_the_same(world):
    made = world()
    made.evidence(0)
    made.frame(0)
    assert made.aligner.hold(True) == ''
    made.aligner.realign()
    assert made.frame(100).depth is None
    assert not made.state.held
    assert 'realigned' in made.state.problem
    made.evidence(200, noisy(2.0 * SCALE))
    assert made.frame(200).alignment.scale == pytest.approx(2.0 * SCALE, rel=0.02)


def test_evidence_of_before_what_was_learnt_last_is_not_used(world):
    made = world()
    made.frame(0)
    made.evidence(200)
    made.frame(200)
    before = made.frame(300).alignment
    made.evidence(0, noisy(2.0 * SCALE))
    after = made.frame(400).alignment
    assert (after.scale, after.shift, after.stamp_ns) == (before.scale, before.shift, 200 * MS)


def test_what_has_aged_while_no_frame_came_cannot_be_held(world, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('depth_anything_ros.alignment.aligner.monotonic', lambda: now[0])
    made = world(max_age_s=1.0)
    made.evidence(0)
    made.frame(0)
    now[0] += 0.9
    assert made.aligner.hold(True) == ''
    now[0] += 600.0
    assert made.aligner.hold(True) == ''
    made.aligner.hold(False)
    assert made.aligner.hold(True).endswith('no alignment to hold: no frame has been worked on for 600.9 s')
    assert not made.state.held
    # A slow network's frames are seldom.
    for milliseconds in (0, 5000):
        now[0] += 5.0
        made.evidence(milliseconds + 10_000)
        made.frame(milliseconds + 10_000)
    now[0] += 3.0
    assert made.aligner.hold(True) == ''
    constant = world('fixed', {'scale': SCALE, 'shift': SHIFT})
    constant.frame(0)
    now[0] += 600.0
    assert constant.aligner.hold(True) == ''


def test_a_frame_whose_evidence_waits_is_asked_for_once_the_alignment_grows_old(world):
    made = world(max_age_s=2.0)
    assert not made.aligner.is_waiting_for(0)
    made.evidence(0)
    assert made.aligner.is_waiting_for(20 * MS)
    made.frame(0)
    made.evidence(500)
    assert not made.aligner.is_waiting_for(500 * MS)
    made.evidence(1500)
    assert made.aligner.is_waiting_for(1500 * MS)


def test_a_metric_model_is_believed_unless_it_is_to_be_corrected(world):
    predicted = (DEPTH * 1.3).astype(np.float32)
    believing = world()
    believing.evidence(0)
    frame = believing.frame(0, predicted, kind='depth')
    np.testing.assert_array_equal(frame.depth, predicted)
    assert frame.alignment is None
    correcting = world(correct_metric_model=True)
    assert correcting.frame(0, predicted, kind='depth').depth is None
    correcting.evidence(100)
    np.testing.assert_allclose(correcting.frame(100, predicted, kind='depth').depth, DEPTH, rtol=1e-3)


def test_where_a_metric_model_is_saturated_there_is_no_distance(world):
    seen = np.minimum(DEPTH, 0.999 * 1.5).astype(np.float32)
    far = DEPTH > 1.5
    believing = world()
    depth = believing.frame(0, seen, kind='depth', max_depth_m=1.5).depth
    assert (depth[far] == np.inf).all()
    np.testing.assert_array_equal(depth[DEPTH < 1.4], seen[DEPTH < 1.4])
    # It says 80 % of the truth, and where it is saturated its word is no evidence against that.
    corrected = world(correct_metric_model=True)
    corrected.evidence(0, DEPTH / 0.8)
    depth = corrected.frame(0, seen, kind='depth', max_depth_m=1.5).depth
    assert (depth[far] == np.inf).all()
    np.testing.assert_allclose(depth[DEPTH < 1.4], DEPTH[DEPTH < 1.4] / 0.8, rtol=1e-3)


def test_where_a_metric_model_is_saturated_there_is_no_distance_after_the_stabilizer_either(world):
    made = world(correct_metric_model=True, stabilizer_s=0.3)
    random, sky = np.random.default_rng(0), np.arange(60) < 12
    truth = np.where(sky[:, None], np.nan, DEPTH)
    for i in range(30):
        seen = np.where(sky[:, None], 0.999 * 5.0, DEPTH / (1.0 + 0.1 * random.standard_normal())).astype(np.float32)
        made.evidence(33 * i, truth)
        depth = made.frame(33 * i, seen, kind='depth', max_depth_m=5.0).depth
        assert (depth[sky] == np.inf).all()
        assert np.isfinite(depth[seen < 0.97 * 5.0]).all()


def test_flicker_of_a_metric_model_that_is_believed_goes_away_too(world):
    random, levels = np.random.default_rng(0), {}
    for seconds in (0.0, 10.0):
        made, levels[seconds] = world('none', stabilizer_s=seconds), []
        for i in range(60):
            seen = (DEPTH / (1.0 + 0.1 * random.standard_normal())).astype(np.float32)
            frame = made.frame(33 * i, seen, kind='depth', max_depth_m=20.0)
            np.testing.assert_allclose(frame.depth * frame.disparity, 1.0, rtol=1e-5)
            levels[seconds].append(frame.depth.mean())
    assert np.std(np.diff(levels[10.0])) < 0.1 * np.std(np.diff(levels[0.0]))


def test_a_scale_that_varies_over_the_image_is_found_where_it_is_asked_for(world):
    v, u = np.mgrid[-1:1:60j, -1:1:80j]
    depth = 1.0 / (SCALE * (1.0 + 0.2 * u - 0.1 * v) * DISPARITY + SHIFT)
    errors = []
    for order in (0, 1, 2):
        made = world(field_order=order)
        made.evidence(0, depth)
        errors.append(np.abs(made.frame(0).depth / depth - 1.0).mean())
    assert errors[0] > 0.05
    assert max(errors[1:]) < 0.02


def test_a_field_beyond_what_a_network_errs_is_none(world):
    u = np.linspace(-1.0, 1.0, 80) * np.ones((60, 1))
    made = world(field_order=1, min_explained=-1.0, max_scale_sigma=10.0)
    made.evidence(0, 1.0 / (SCALE * (1.0 + 0.9 * u) * DISPARITY + SHIFT))
    assert made.frame(0).alignment.field == ()


def test_a_field_is_not_fitted_where_evidence_covers_half_the_image(world):
    made = world(field_order=1)
    u = np.linspace(-1.0, 1.0, 80)
    depth = 1.0 / (SCALE * (1.0 + 0.2 * u) * DISPARITY + SHIFT)
    made.evidence(0, np.where(u < 0, depth, np.nan))
    assert made.frame(0).alignment.field == ()


def test_a_fixed_alignment_holds_always(world):
    made = world('fixed', {'scale': SCALE, 'shift': SHIFT})
    np.testing.assert_allclose(made.frame(0).depth, DEPTH, rtol=1e-5)
    assert made.state.current.scale == SCALE
    assert made.frame(10**9).depth is not None


def test_no_source_gives_no_metres(world):
    made = world('none')
    assert made.frame(0).depth is None
    assert made.state.problem == 'alignment.source is none'


class Told(FrameSource):
    """Returns, or raises, what it is told to."""

    answer: Samples | Prior | Alignment | Exception

    def measure(self, evidence, view):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_prior_is_tracked_like_a_fit():
    source = Told()
    aligner = Aligner(source)
    source.answer = Prior(scale=0.4, scale_sigma=0.05, shift=0.02, shift_sigma=0.01)
    for i in range(20):
        frame = aligner.align(View(DISPARITY, stamp_ns=i * 100 * MS))
    assert frame.alignment.scale == pytest.approx(0.4)
    assert frame.alignment.shift == pytest.approx(0.02)
    assert np.sqrt(frame.alignment.covariance[0]) < 0.05


def test_a_source_that_fails_is_told_of_and_the_alignment_goes_on():
    source = Told()
    aligner = Aligner(source)
    source.answer = Prior(scale=0.4, scale_sigma=0.05)
    aligner.align(View(DISPARITY))
    source.answer = KeyError('a bug in a foreign source')
    assert aligner.align(View(DISPARITY, stamp_ns=100 * MS)).depth is not None
    assert 'KeyError' in aligner.state.problem
    source.answer = EvidenceError('nothing to see')
    assert aligner.align(View(DISPARITY, stamp_ns=5000 * MS)).depth is None
    assert aligner.state.problem.endswith('nothing to see')


def test_samples_outside_the_image_and_without_a_number_are_left_out():
    source = Told()
    pixels = np.array([[-3.0, 0.0], [np.nan, 1.0], [80.0, 0.0], [0.0, 1e12]] + [[u, 30.0] for u in range(80)])
    depth = np.r_[np.ones(4), DEPTH[30]]
    source.answer = Samples(pixels, depth)
    aligned = Aligner(source, AlignerSettings(min_samples=80)).align(View(DISPARITY))
    assert aligned.alignment.samples == 80
    np.testing.assert_allclose(aligned.depth, DEPTH, rtol=1e-3)


def test_time_that_goes_back_is_noticed_without_messages_too():
    source = Told()
    aligner = Aligner(source)
    source.answer = Prior(scale=0.4, scale_sigma=0.05)
    aligner.align(View(DISPARITY, stamp_ns=60_000 * MS))
    source.answer = EvidenceError('nothing to see')
    assert aligner.align(View(DISPARITY, stamp_ns=1_000 * MS)).depth is None


@pytest.mark.parametrize('wrong', [{'scale': 0.0}, {'scale': np.nan}, {'scale_sigma': -1.0}, {'shift': np.inf}])
def test_a_prior_cannot_be_made_of_nonsense(wrong):
    with pytest.raises(EvidenceError, match='positive scale'):
        Prior(**{'scale': 1.0, 'scale_sigma': 0.1, **wrong})


def test_one_depth_only_is_followed_where_parts_of_the_disparity_are_unknown(world):
    made = world()
    made.evidence(0, noisy(noise=0.001))
    made.frame(0)
    wall = np.full_like(DISPARITY, 1.2)
    wall[::2] = np.nan
    made.evidence(1000, np.full_like(DISPARITY, 1.0 / (1.1 * (SCALE * 1.2 + SHIFT))))
    aligned = made.frame(1000, wall)
    assert np.nanmedian(aligned.depth) * (SCALE * 1.2 + SHIFT) == pytest.approx(1.0 / 1.1, rel=0.01)
    assert made.frame(1100).depth is not None


def test_one_depth_only_is_followed_where_the_rest_is_too_far_for_the_model(world):
    made = world(correct_metric_model=True)
    for i in range(5):
        made.evidence(100 * i, noisy(shift=0.0))
        made.frame(100 * i, 1.0 / DISPARITY, kind='depth', max_depth_m=20.0)
    far = np.arange(60)[:, None] < 33  # 55 %
    seen = np.where(far, 20.0, np.full_like(DISPARITY, 1.0 / 1.2))
    wall = 1.0 / (1.5 * SCALE * 1.2)
    for i in range(5, 10):
        made.evidence(100 * i, np.where(far, 60.0, np.full_like(DEPTH, wall)))
        depth = made.frame(100 * i, seen, kind='depth', max_depth_m=20.0).depth
    np.testing.assert_allclose(depth[33:], wall, rtol=0.02)


def test_evidence_that_says_the_near_is_far_is_refused_also_while_tracking(world):
    made = world()
    made.evidence(0)
    good = made.frame(0).alignment
    made.evidence(100, 1.0 / (SCALE * (2.0 - DISPARITY) + SHIFT))
    kept = made.frame(100).alignment
    assert (kept.scale, kept.shift) == (good.scale, good.shift)
    assert 'nearer' in made.state.problem
    assert made.state.refused == 1


class ToldByMessage(Told):
    """The same, when a message comes."""

    @property
    def topics(self):
        return {'scale_reference': 'sensor_msgs/msg/Range'}

    def read(self, topic, message):
        return message


def test_an_alignment_from_a_message_ages_and_is_forgotten(depth_message):
    source = ToldByMessage()
    source.answer = Alignment(SCALE, SHIFT)
    aligner = Aligner(source)
    aligner.add_message('scale_reference', depth_message(DEPTH))
    assert aligner.align(View(DISPARITY)).depth is not None
    assert aligner.align(View(DISPARITY, stamp_ns=1000 * MS)).depth is not None
    assert aligner.align(View(DISPARITY, stamp_ns=2100 * MS)).depth is None
    aligner.add_message('scale_reference', depth_message(DEPTH, 2200 * MS))
    assert aligner.align(View(DISPARITY, stamp_ns=2200 * MS)).depth is not None
    aligner.realign()
    assert aligner.align(View(DISPARITY, stamp_ns=2300 * MS)).depth is None


def test_a_hold_ends_where_a_metric_model_is_believed_meanwhile(world):
    made = world(correct_metric_model=True)
    made.evidence(0)
    made.frame(0, DEPTH, kind='depth')
    assert made.aligner.hold(True) == ''
    made.aligner.settings = AlignerSettings(correct_metric_model=False)
    made.frame(100, DEPTH, kind='depth')
    made.aligner.settings = AlignerSettings(correct_metric_model=True)
    assert made.frame(200, DEPTH, kind='depth').depth is not None
    assert not made.state.held


def test_stamps_that_stand_still_end_an_alignment_too(world, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('depth_anything_ros.alignment.aligner.monotonic', lambda: now[0])
    made = world(max_age_s=1.0)
    made.evidence(0)
    assert made.frame(0).depth is not None
    now[0] += 0.9
    assert made.frame(0).depth is not None
    now[0] += 0.2
    assert made.frame(0).depth is None
    assert 'not advanced for 1.1 s' in made.state.problem
    made.evidence(1100)
    assert made.frame(1100).depth is not None


def test_stamps_that_run_in_a_circle_end_an_alignment_too(world, monkeypatch):
    now = [100.0]
    monkeypatch.setattr('depth_anything_ros.alignment.aligner.monotonic', lambda: now[0])
    made = world(max_age_s=1.0)
    made.evidence(0)
    for frame in range(40):
        depth = made.frame(50 * (frame % 6)).depth
        # Of 300 ms, over and over: the highest stamp was that of the sixth frame.
        assert (depth is None) == (frame > 5 + 20), frame
        now[0] += 0.05
    assert 'not advanced' in made.state.problem


def test_stamps_that_creep_back_are_time_that_went_back(world):
    made = world()
    made.evidence(10_000)
    depths = [made.frame(10_000 - 400 * frame).depth for frame in range(5)]
    assert [depth is not None for depth in depths] == [True, True, True, False, False]
    assert 'time went back' in made.state.problem


def test_an_age_of_nothing_is_for_frames_with_evidence_of_their_own(world):
    made = world(max_age_s=0.0)
    made.evidence(100)
    assert made.frame(100).depth is not None
    assert made.frame(133).depth is None
    made.evidence(166)
    assert made.frame(166).depth is not None


def oblique_wall(noise):
    """Disparity of a wall at 2 to 2.5 m and a box at 0.5 m before it, as a network errs; the box; the wall alone."""
    chance = np.random.default_rng(1)
    inverse = np.tile(np.linspace(0.4, 0.5, 160), (120, 1))
    box = np.zeros(inverse.shape, bool)
    box[80:115, 50:110] = True
    measured = np.where(box, np.nan, (1.0 + 0.01 * chance.standard_normal(box.shape)) / inverse)
    inverse[box] = 2.0
    return (inverse * (1.0 + noise * chance.standard_normal(box.shape))).astype(np.float32), box, measured


@pytest.mark.parametrize('noise', [0.005, 0.03, 0.05, 0.08])
@pytest.mark.parametrize('known', [False, True])
def test_what_is_nearer_than_all_evidence_is_not_said_to_be_farther_than_it_is(world, noise, known):
    """A regression on a network that errs has too small a slope, and a box before the wall would be put back."""
    made = world()
    if known:
        made.evidence(0, 1.0 / DISPARITY)
        made.frame(0)
    disparity, box, measured = oblique_wall(noise)
    for frame in range(1, 20):
        made.evidence(33 * frame, measured)
        found = made.frame(33 * frame, disparity)
    if found.depth is None:
        assert not known
        assert 'near end of the image' in made.state.problem
    else:
        depth, sigma = np.median(found.depth[box]), np.median(found.sigma()[box])
        assert abs(depth - 0.5) < 2.0 * sigma
        assert depth < 0.6


def test_a_network_that_errs_as_much_is_followed_where_evidence_is_as_near_as_anything(world):
    made = world()
    disparity = (DISPARITY * (1.0 + 0.1 * NOISE.standard_normal(DISPARITY.shape))).astype(np.float32)
    made.evidence(0)
    assert made.frame(0, disparity).depth is not None
    assert made.state.problem == ''


@pytest.mark.parametrize('late_ms', [300, 900])
def test_evidence_at_1_khz_waits_for_images_that_are_late(depth_message, late_ms):
    source, found = ToldByMessage(), []
    source.answer = Alignment(SCALE, SHIFT)
    aligner = Aligner(source)
    for now in range(3000):
        aligner.add_message('scale_reference', depth_message(DEPTH[:1, :1], now * MS))
        if now >= late_ms and now % 33 == 0:
            taken = (now - late_ms) * MS
            aligner.expect(taken)
            frame = aligner.align(View(DISPARITY, stamp_ns=taken, frame_id=FRAME))
            found.append(frame.alignment.stamp_ns == taken)
    assert len(found) > 50
    assert all(found)


def test_evidence_that_was_forgotten_before_its_frame_came_is_told(depth_message):
    source = ToldByMessage()
    source.answer = Alignment(SCALE, SHIFT)
    aligner = Aligner(source)
    for now in range(6000):
        aligner.add_message('scale_reference', depth_message(DEPTH[:1, :1], now * MS))
    frame = aligner.align(View(DISPARITY, stamp_ns=1000 * MS, frame_id=FRAME))
    assert frame.alignment is None
    assert 'had to be forgotten before its image came' in aligner.state.problem
    assert aligner.align(View(DISPARITY, stamp_ns=5000 * MS, frame_id=FRAME)).alignment is not None
    assert aligner.state.problem == ''


def test_evidence_that_no_frame_asks_for_does_not_fill_the_memory(depth_message):
    aligner = Aligner(ToldByMessage())
    cloud = np.zeros((1_000_000, 3), np.float32)
    aligner.expect(0)
    for i in range(100):
        message = depth_message(DEPTH, i * 100 * MS)
        message.cloud = cloud
        aligner.add_message('scale_reference', message)
    # Five of 12 MB are less than 64 MiB.
    assert aligner.state.unmatched == 95
    # What is worked on is among them.
    assert aligner.is_waiting_for(0)
