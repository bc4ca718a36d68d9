"""One network over one data set: what is skipped is counted, neighbours in time, and what stops it."""

import dataclasses

import numpy as np
import pytest

from training.data.spec import DataSpec
from training.errors import DataError, TrainingError
from training.evaluation.protocol import Protocol
from training.evaluation.running import choose, evaluate, pick

PLAIN = Protocol(DataSpec('shards'), max_depth=80.0)
NAMES = ('model', 'data')


def run(world, samples, estimator=None, workers=0, **changes):
    protocol = dataclasses.replace(PLAIN, **changes)
    return evaluate(estimator or world.Reading(), world.Listed(samples), range(len(samples)), protocol, NAMES, workers)


def test_what_is_skipped_is_counted_by_its_reason_and_the_rest_is_scored(world, caplog):
    blind = dataclasses.replace(world.sample('blind'), depth=None)
    ribbon = world.sample('ribbon', size=(4, 64))
    samples = [world.sample('a'), 'torn: cannot be decoded', blind, blind, world.sample('b', 1), ribbon]
    outcome = run(world, samples, min_pixels=300)
    assert [image.key for image in outcome.result.images] == ['a', 'b']
    assert [image.index for image in outcome.result.images] == [0, 4]
    assert outcome.skipped == {'no truth': 2, 'too few valid pixels': 1, 'unusable sample': 1}
    assert 'torn: cannot be decoded' in caplog.text
    assert outcome.summary()['images'] == 2


def test_a_reading_process_gives_what_this_one_does(world):
    samples = [world.sample('a'), 'torn: cannot be decoded', world.sample('b', 1)]
    wavy = world.Reading(lambda red, _: red + 20.0 * np.sin(red / 9.0))
    here, there = (run(world, samples, wavy, workers) for workers in (0, 1))
    assert here.result == there.result
    assert here.skipped == there.skipped == {'unusable sample': 1}


@pytest.mark.parametrize('workers', [0, 1])
def test_a_store_that_cannot_be_read_stops_it_in_one_line(world, workers):
    with pytest.raises(DataError, match=r'^s3://x/train-0.tar: timed out$'):
        run(world, [world.sample('a'), DataError('s3://x/train-0.tar: timed out')], workers=workers)


def test_means_are_of_images_and_not_of_their_pixels(world):
    half = world.sample('half', 1)
    half.depth[:, 8:] = np.nan
    off = world.Metric(lambda depth, call: depth * (1.1 if call else 1.3))
    outcome = run(world, [world.sample('a'), half], off, alignment='none', max_depth=100.0)
    assert outcome.result.mean('abs_rel') == pytest.approx(0.2, abs=1e-4)


def test_nan_stops_it_and_names_the_sample(world):
    broken = world.Reading(lambda red, call: red * np.nan if call == 1 else red)
    with pytest.raises(TrainingError, match=r'model on sample second of data.*NaN'):
        run(world, [world.sample('first'), world.sample('second')], broken)


def test_when_nothing_can_be_scored_it_says_why(world):
    with pytest.raises(DataError, match=r'not one of 2 samples can be scored \(no truth: 1, unusable sample: 1\)'):
        run(world, [dataclasses.replace(world.sample('a'), depth=None), 'torn'])
    with pytest.raises(DataError, match='it has no samples'):
        run(world, [])


def frames(world, stamps, **meta):
    return [
        world.sample(f'f{i}', i, stamp_ns=int(1e9 * stamp), bag='b', topic='/t', **meta)
        for i, stamp in enumerate(stamps)
    ]


def flickers(outcome, metric='flicker'):
    return [image.scores.get(metric) for image in outcome.result.images]


def test_a_network_that_is_always_right_does_not_flicker_and_one_whose_scale_jumps_does(world):
    samples = frames(world, [0.0, 0.1, 0.2])
    still = run(world, samples, sequence='time')
    assert flickers(still)[0] is None
    assert flickers(still)[1:] == pytest.approx([0.0, 0.0], abs=1e-4)
    # Each frame by itself is perfect: only its neighbour tells.
    jumping = world.Reading(lambda red, call: (world.scale * red + world.shift) * (1.25 if call == 1 else 1.0))
    outcome = run(world, samples, jumping, sequence='time')
    assert outcome.result.mean('abs_rel') == pytest.approx(0.0, abs=1e-4)
    assert flickers(outcome)[1:] == pytest.approx([np.log(1.25)] * 2, abs=1e-3)
    assert flickers(outcome, 'flicker_scale')[1:] == pytest.approx([np.log(1.25)] * 2, abs=1e-3)


def test_a_part_of_the_images_has_no_neighbours_in_time(world):
    samples = world.Listed(frames(world, [0.0, 0.1, 0.2, 0.3]))
    protocol = dataclasses.replace(PLAIN, sequence='time')
    part = evaluate(world.Reading(), samples, [0, 1, 3], protocol, NAMES, 0)
    assert flickers(part) == [None, None, None]


def test_neighbours_are_near_in_time_of_one_topic_and_in_order(world):
    jumping = world.Reading(lambda red, call: red * (1.0 + call))
    gap = run(world, frames(world, [0.0, 0.1, 5.0, 5.1, 5.0]), jumping, sequence='time')
    assert [value is not None for value in flickers(gap)] == [False, True, False, True, False]
    samples = frames(world, [0.0, 0.1, 0.2, 0.3])
    samples[2].meta['topic'] = samples[3].meta['topic'] = '/other'
    other = run(world, samples, jumping, sequence='time')
    assert [value is not None for value in flickers(other)] == [False, True, False, True]
    samples[1].meta['topic'], samples[2].meta['topic'] = '/other', '/t'
    in_turns = run(world, samples, jumping, sequence='time')
    assert [value is not None for value in flickers(in_turns)] == [False, False, True, True]
    assert flickers(run(world, frames(world, [0.0, 0.1]), sequence='none')) == [None, None]


def test_scenes_are_sequences_where_the_protocol_says_so_and_a_missing_frame_parts_them(world):
    samples = [world.sample(f'f{i}', i, scene='alley' if i < 3 else 'bamboo') for i in range(6)]
    samples[4] = 'torn'
    outcome = run(world, samples, sequence='scene')
    assert [value is not None for value in flickers(outcome)] == [False, True, True, False, False]


def test_an_inverted_frame_has_no_flicker_and_breaks_the_chain(world):
    upside_down = world.Reading(lambda red, call: -red if call == 1 else red)
    outcome = run(world, frames(world, [0.0, 0.1, 0.2, 0.3]), upside_down, sequence='time')
    assert outcome.summary()['inverted'] == 1
    assert [value is not None for value in flickers(outcome)] == [False, False, False, True]


def test_sparse_truth_tells_the_flicker_of_the_scale(world):
    samples = frames(world, [0.0, 0.1])
    for seed, sample in enumerate(samples):
        rows, columns = np.random.default_rng(seed).integers(0, (48, 64), (150, 2)).T
        sample.points = np.stack([columns, rows, sample.depth[rows, columns]], axis=1).astype(np.float32)
        sample.depth = None
    jumping = world.Reading(lambda red, call: (world.scale * red + world.shift) * (1.0 + call))
    outcome = run(world, samples, jumping, sequence='time', truth='points')
    assert flickers(outcome, 'flicker_scale')[1] == pytest.approx(np.log(2.0), abs=1e-3)
    assert flickers(outcome) == [None, None]


def test_a_part_of_a_data_set_is_evenly_spread_and_pictures_are_the_same_ones_again():
    assert choose(10, 0) == choose(10, 30) == list(range(10))
    assert choose(10, 4) == [0, 2, 5, 7]
    indices = choose(1000, 100)
    assert pick(indices, 5, 1) == pick(indices, 5, 1) != pick(indices, 5, 2)
    assert set(pick(indices, 5, 1)) <= set(indices)
    assert pick([3, 4], 9, 0) == [3, 4]


def test_accuracy_is_over_pairs_and_not_over_images(world):
    samples = [world.sample('one'), world.sample('three', 1)]
    for sample, count in zip(samples, (1, 3), strict=True):
        nearest, farthest = (np.unravel_index(pick(sample.depth), (48, 64)) for pick in (np.argmin, np.argmax))
        sample.meta['pairs'] = [[int(value) for value in (*nearest, *farthest)]] * count
    wrong_once = world.Reading(lambda red, call: -red if call == 0 else red)
    outcome = run(world, samples, wrong_once, truth='pairs', alignment='none')
    assert outcome.result.mean('da2k') == pytest.approx(0.75)
