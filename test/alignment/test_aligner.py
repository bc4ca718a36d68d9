"""Which alignment holds when: evidence and frames in time."""

import numpy as np
import pytest

from depth_anything_ros.alignment import (
    Aligner,
    DepthSource,
    EvidenceError,
    FixedSource,
    NoSource,
)

MS = 1_000_000
SCALE, SHIFT = 0.5, 0.1
DISPARITY = np.random.default_rng(0).uniform(0.0, 2.0, (60, 80)).astype(np.float32)
DEPTH = 1.0 / (SCALE * DISPARITY + SHIFT)


def aligner(**settings):
    return Aligner(DepthSource(), **settings)


def test_evidence_of_the_same_moment_makes_metres():
    made = aligner()
    made.add_evidence(100 * MS, DEPTH)
    alignment = made.update(100 * MS, DISPARITY)
    np.testing.assert_allclose(alignment.depth(DISPARITY), DEPTH, rtol=1e-4)
    assert made.state.fits == 1
    assert made.state.problem == ''


def test_without_evidence_there_are_no_metres_and_a_reason():
    made = aligner()
    assert made.update(0, DISPARITY) is None
    assert made.state.problem == 'no evidence yet'


def test_evidence_that_comes_late_is_matched_with_the_frame_of_its_moment():
    made = aligner()
    made.update(100 * MS, DISPARITY)
    made.add_evidence(100 * MS, DEPTH)
    # By now the camera sees something else; only the earlier frame fits the evidence.
    alignment = made.update(400 * MS, DISPARITY[::-1])
    assert alignment.scale == pytest.approx(SCALE, rel=1e-4)
    assert alignment.stamp_ns == 100 * MS


def test_evidence_that_comes_early_waits_for_its_frame():
    made = aligner()
    made.add_evidence(500 * MS, DEPTH)
    assert made.update(100 * MS, DISPARITY[::-1]) is None
    assert made.update(500 * MS, DISPARITY).scale == pytest.approx(SCALE, rel=1e-4)


def test_evidence_waits_while_a_slow_network_works_on_its_frame():
    made = aligner()
    made.expect(100 * MS)
    made.add_evidence(100 * MS, DEPTH)
    for late in range(200, 5000, 100):
        made.add_evidence(late * MS, DEPTH[::-1])
    alignment = made.update(100 * MS, DISPARITY)
    assert alignment.scale == pytest.approx(SCALE, rel=1e-4)
    assert made.state.problem == ''


def test_evidence_at_100_hz_waits_for_a_frame_that_comes_a_second_later():
    made = aligner()
    made.add_evidence(100 * MS, DEPTH)
    for later in range(110, 1100, 10):
        made.add_evidence(later * MS, DEPTH[::-1])
    assert made.update(100 * MS, DISPARITY).scale == pytest.approx(SCALE, rel=1e-4)


def test_of_several_pieces_of_evidence_the_nearest_in_time_counts():
    made = aligner()
    made.add_evidence(70 * MS, DEPTH[::-1])
    made.add_evidence(101 * MS, DEPTH)
    made.add_evidence(140 * MS, DEPTH[::-1])
    assert made.update(100 * MS, DISPARITY).stamp_ns == 101 * MS
    assert made.state.refused == 0


def test_evidence_of_another_moment_is_not_used():
    made = aligner(max_time_difference_s=0.05)
    made.add_evidence(100 * MS, DEPTH)
    assert made.update(200 * MS, DISPARITY) is None
    assert made.state.unmatched == 1
    assert '0.100 s' in made.state.problem


def test_an_old_alignment_ends_and_says_so():
    made = aligner(max_age_s=1.0)
    made.add_evidence(0, DEPTH)
    assert made.update(0, DISPARITY) is not None
    assert made.update(1000 * MS, DISPARITY) is not None
    assert made.state.age_s == pytest.approx(1.0)
    assert made.update(1001 * MS, DISPARITY) is None
    assert 'alignment.max_age_s' in made.state.problem


def test_time_that_goes_back_forgets_the_alignment():
    made = aligner()
    made.add_evidence(60_000 * MS, DEPTH)
    assert made.update(60_000 * MS, DISPARITY) is not None
    assert made.update(1_000 * MS, DISPARITY) is None
    assert 'time went back' in made.state.problem


def test_a_refused_fit_keeps_the_one_before_and_tells():
    made = aligner()
    made.add_evidence(0, DEPTH)
    good = made.update(0, DISPARITY)
    made.add_evidence(100 * MS, np.full_like(DEPTH, np.nan))
    assert made.update(100 * MS, DISPARITY) == good
    assert made.state.refused == 1
    assert 'depth samples' in made.state.problem


def test_evidence_that_the_disparity_does_not_explain_is_refused():
    made = aligner(min_explained=0.3)
    made.add_evidence(0, np.random.default_rng(1).uniform(1.0, 10.0, DEPTH.shape).astype(np.float32))
    assert made.update(0, DISPARITY) is None
    assert made.state.refused == 1


def test_a_depth_image_of_half_the_size_fits_as_well():
    smooth = np.linspace(0.1, 2.0, 80, dtype=np.float32) + np.zeros((60, 1), np.float32)
    made = aligner()
    made.add_evidence(0, 1.0 / (SCALE * smooth + SHIFT)[::2, ::2])
    assert made.update(0, smooth).scale == pytest.approx(SCALE, rel=0.01)


def test_a_depth_image_of_other_proportions_is_refused_with_both_sizes():
    with pytest.raises(EvidenceError, match=r'50x50.*80x60'):
        DepthSource().samples(DepthSource().condense(np.ones((50, 50), np.float32)), DISPARITY)


def test_dense_evidence_is_thinned_and_stays_matched():
    source = DepthSource(max_samples=300)
    samples = source.samples(source.condense(DEPTH), DISPARITY)
    assert 200 <= samples.depth_m.size <= 300
    np.testing.assert_allclose(samples.depth_m, 1.0 / (SCALE * samples.disparity + SHIFT), rtol=1e-5)


def test_sparse_evidence_keeps_its_pixels():
    sparse = np.full_like(DEPTH, np.nan)
    sparse[10, 20], sparse[30, 40], sparse[59, 79] = DEPTH[10, 20], DEPTH[30, 40], DEPTH[59, 79]
    samples = DepthSource().samples(DepthSource().condense(sparse), DISPARITY)
    np.testing.assert_array_equal(samples.disparity, [DISPARITY[10, 20], DISPARITY[30, 40], DISPARITY[59, 79]])


def test_a_fixed_alignment_holds_always():
    made = Aligner(FixedSource(SCALE, SHIFT))
    np.testing.assert_allclose(made.update(0, DISPARITY).depth(DISPARITY), DEPTH, rtol=1e-5)
    assert made.state.current.scale == SCALE


def test_no_source_gives_no_metres():
    made = Aligner(NoSource())
    assert made.update(0, DISPARITY) is None
    assert made.state.problem == 'alignment.source is none'
