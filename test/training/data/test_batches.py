"""Batches: a function of seed and step, however many processes load or train, and whatever is damaged."""

import dataclasses
import multiprocessing
import time
from collections import Counter

import numpy as np
import psutil
import pytest
import torch

from training.data import Dataset, Sample, ShardDataset, ShardWriter
from training.data.augmentation import TrainView
from training.data.loading import Batches, Stream
from training.data.shards import encode_sample
from training.errors import BadSampleError, DataError, RecipeError
from training.files import Folder


class Noise(Dataset):
    """Samples of noise; those in `bad` cannot be read, and with `lost` the files are gone."""

    def __init__(self, count, bad=(), lost=False):
        self.name, self.count, self.bad, self.lost = 'noise', count, frozenset(bad), lost

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.lost:
            raise DataError('/data/noise: no such file')
        if index in self.bad:
            raise BadSampleError(f'{self.key(index)}: broken')
        rng = np.random.default_rng(index)
        depth = rng.uniform(1, 5, (36, 48)).astype(np.float32)
        return Sample(self.key(index), rng.integers(0, 256, (36, 48, 3), np.uint8), depth=depth)

    def key(self, index):
        return f'k{index:03d}'

    @property
    def fingerprint(self):
        return str(self.count)


WEAK = TrainView(28)
STRONG = TrainView((28, 42), strong=True, clean=True)


def batches(steps=6, bad=(), **values):
    streams = [Stream('labelled', Noise(50, bad), 4, WEAK), Stream('unlabelled', Noise(90), 8, STRONG, cutmix=0.5)]
    return Batches(streams, **{'seed': 7, 'steps': steps, **values})


def tensors(batch):
    found = {}
    for name, stream in batch.streams.items():
        for part in dataclasses.fields(stream):
            found[name, part.name] = getattr(stream, part.name)
    return found


def assert_equal(batch, expected):
    assert batch.step == expected.step
    for name, value in tensors(expected).items():
        found = tensors(batch)[name]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, name


@pytest.fixture(scope='module')
def uninterrupted():
    return list(batches())


def test_tensors_are_what_they_say(uninterrupted):
    labelled, unlabelled = uninterrupted[0].streams['labelled'], uninterrupted[0].streams['unlabelled']
    assert (labelled.image.shape, labelled.image.dtype) == ((4, 3, 28, 28), torch.float32)
    assert (labelled.target.shape, labelled.target.dtype) == ((4, 28, 28), torch.float32)
    assert (labelled.mask.shape, labelled.mask.dtype) == ((4, 28, 28), torch.bool)
    assert labelled.clean is labelled.box is labelled.other_target is labelled.other_mask is None
    assert unlabelled.image.shape == unlabelled.clean.shape == (8, 3, 28, 42)
    assert unlabelled.box.shape == unlabelled.other_target.shape == unlabelled.other_mask.shape == (8, 28, 42)
    assert len(unlabelled.keys) == 8
    assert uninterrupted[0].skipped == {}


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(uninterrupted, workers):
    found = list(batches(start=2, workers=workers))
    assert [batch.step for batch in found] == [2, 3, 4, 5]
    for batch, expected in zip(found, uninterrupted[2:], strict=True):
        assert_equal(batch, expected)


@pytest.mark.parametrize('world_size', [2, 4])
def test_processes_see_the_parts_of_what_one_sees(uninterrupted, world_size):
    parts = [list(batches(rank=rank, world_size=world_size)) for rank in range(world_size)]
    for step, expected in enumerate(uninterrupted):
        found = [tensors(part[step]) for part in parts]
        for name, value in tensors(expected).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(torch.cat([one[name] for one in found]), value), name
            elif name[1] == 'keys':
                assert [key for one in found for key in one[name]] == value


def test_seed_stream_and_step_each_change_what_is_seen(uninterrupted):
    other = next(iter(batches(seed=8)))
    assert other.streams['labelled'].keys != uninterrupted[0].streams['labelled'].keys
    twins = Batches([Stream(name, Noise(50), 10, WEAK) for name in 'ab'], 0, 1)
    (batch,) = twins
    assert batch.streams['a'].keys != batch.streams['b'].keys
    # One sample, seen twice: cut and mirrored in another way each time.
    images = [
        image for batch in Batches([Stream('a', Noise(1), 8, STRONG)], 0, 2) for image in batch.streams['a'].image
    ]
    assert len({image.numpy().tobytes() for image in images}) >= 14


def test_an_epoch_has_every_sample_once():
    keys = [key for batch in batches(steps=25) for key in batch.streams['labelled'].keys]
    assert Counter(keys[:50]) == Counter(keys[50:]) == Counter(f'k{index:03d}' for index in range(50))
    assert keys[:50] != keys[50:]


def test_inside_its_box_an_image_is_its_neighbour():
    dataset = Noise(90)
    plain = list(Batches([Stream('u', dataset, 8, STRONG)], 0, 5))
    shares = []
    for batch, alone in zip(Batches([Stream('u', dataset, 8, STRONG, cutmix=0.5)], 0, 5), plain, strict=True):
        mixed, single = batch.streams['u'], alone.streams['u']
        swapped = [1, 0, 3, 2, 5, 4, 7, 6]
        assert torch.equal(mixed.other_target, single.target[swapped])
        assert torch.equal(mixed.other_mask, single.mask[swapped])
        for name in ('target', 'mask', 'clean'):
            assert torch.equal(getattr(mixed, name), getattr(single, name))
        expected = torch.where(mixed.box[:, None], single.image[swapped], single.image)
        assert torch.equal(mixed.image, expected)
        shares += mixed.box.flatten(1).any(1).tolist()
    assert 0.25 < np.mean(shares) < 0.75


@pytest.mark.parametrize('workers', [0, 2])
def test_one_corrupt_jpeg_among_many_is_replaced_and_counted_and_the_rest_stays(tmp_path, workers, caplog):
    def write(folder, broken):
        parts = {Noise(60).key(index): encode_sample(Noise(60)[index]) for index in range(60)}
        if broken:
            parts[broken]['jpg'] = parts[broken]['jpg'][:-300]
        ShardWriter(Folder(folder)).write('train-000000', parts.items())
        return Batches([Stream('a', ShardDataset(folder), 6, WEAK)], 3, 20, workers=workers)

    whole = list(write(tmp_path / 'whole', None))
    loading = write(tmp_path / 'broken', 'k017')
    broken = list(loading)
    # 20 batches of 6 are two epochs of 60.
    assert loading.skipped == Counter({'k017': 2})
    assert (loading.loaded, caplog.text.count('skipped: k017: ')) == (120, 1)
    assert sum(sum(batch.skipped.values()) for batch in broken) == 2
    for batch, expected in zip(broken, whole, strict=True):
        found, same = batch.streams['a'], expected.streams['a']
        good = [place for place, key in enumerate(same.keys) if key != 'k017']
        assert len(good) == 6 - ('k017' in same.keys)
        assert [found.keys[place] for place in good] == [same.keys[place] for place in good]
        assert torch.equal(found.image[good], same.image[good])
        assert 'k017' not in found.keys


def test_what_replaces_a_bad_sample_is_the_same_after_an_interruption():
    bad = range(0, 50, 12)
    whole = list(batches(steps=13, bad=bad))
    assert sum(bool(batch.skipped) for batch in whole) >= 4
    for batch, expected in zip(batches(steps=13, bad=bad, start=5), whole[5:], strict=True):
        assert_equal(batch, expected)
        assert batch.skipped == expected.skipped


def test_too_many_bad_samples_end_the_training_with_an_example():
    loading = batches(steps=100, bad=range(12))
    with pytest.raises(DataError, match=r'\d+ of \d+ samples .* max_bad_fraction=0.01: such as k0\d\d: broken'):
        list(loading)
    assert len(loading.skipped) > 10
    assert len(list(batches(steps=30, bad=range(12), max_bad_fraction=0.2))) == 30
    # A few in a small data set come again in each epoch: no reason to end after hours what was right at first.
    assert len(list(batches(steps=60, bad=range(10)))) == 60


def test_bad_samples_that_chance_puts_first_do_not_end_a_training_and_a_greater_share_of_them_does():
    def load(bad=()):
        return Batches([Stream('a', Noise(5000, bad), 8, WEAK)], 7, 75)

    seen = [int(key[1:]) for batch in load() for key in batch.streams['a'].keys]
    # 2 % of what is seen so far, and 0.2 % of the data set.
    loading = load(seen[::50])
    assert len(list(loading)) == 75
    assert (len(loading.skipped), loading.loaded) == (12, 600)
    with pytest.raises(DataError, match='more than max_bad_fraction'):
        list(load(range(0, 5000, 20)))


@pytest.mark.parametrize('workers', [0, 1])
def test_a_data_set_of_bad_samples_alone_and_lost_files_end_it_at_once(workers):
    for dataset, cause in (
        (Noise(30, bad=range(30)), r'20 samples in a row could not be used, the last: k0\d\d: broken'),
        (Noise(30, lost=True), 'no such file'),
    ):
        with pytest.raises(DataError, match=cause) as caught:
            list(Batches([Stream('a', dataset, 2, WEAK)], 0, 3, workers=workers))
        assert '\n' not in str(caught.value)


def test_batches_that_cannot_be_divided_are_refused():
    for count, world_size, cutmix in ((5, 2, 0.0), (6, 2, 0.5), (3, 1, 0.5)):
        parts = world_size * (2 if cutmix else 1)
        with pytest.raises(RecipeError, match=f'stream a: {count} samples .* multiple of {parts}'):
            Batches([Stream('a', Noise(9), count, WEAK, cutmix)], 0, 1, world_size=world_size)
    for names in ('', 'aa'):
        with pytest.raises(RecipeError, match='different names'):
            Batches([Stream(name, Noise(9), 2, WEAK) for name in names], 0, 1)
    with pytest.raises(DataError, match='no samples'):
        Batches([Stream('a', Noise(0), 2, WEAK)], 0, 1)
    with pytest.raises(ValueError, match='rank'):
        Batches([Stream('a', Noise(9), 2, WEAK)], 0, 1, rank=2, world_size=2)
    with pytest.raises(ValueError, match='cutmix'):
        Stream('a', Noise(9), 2, WEAK, cutmix=1.5)


def test_the_time_of_waiting_is_measured():
    class Slow(Noise):
        def __getitem__(self, index):
            time.sleep(0.02)
            return super().__getitem__(index)

    loading = Batches([Stream('a', Slow(9), 1, WEAK)], 0, 6)
    assert loading.waiting_share() == 0
    for _ in loading:
        time.sleep(0.01)
    assert loading.startup_s >= 0.02
    assert loading.waiting_s >= 5 * 0.02
    assert 0.5 < loading.waiting_share() < 0.98


@pytest.mark.parametrize('workers', [0, 1])
def test_loading_leaves_the_random_state_of_torch_alone(workers):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(batches(steps=1, workers=workers))
    assert torch.equal(torch.rand(2), expected)


def train_on(started):
    for _ in batches(steps=10**6, workers=2):
        started.set()
        time.sleep(0.1)


def test_workers_end_with_a_training_that_is_killed():
    context = multiprocessing.get_context('forkserver')
    started = context.Event()
    training = context.Process(target=train_on, args=(started,))
    training.start()
    assert started.wait(60)
    children = psutil.Process(training.pid).children(recursive=True)
    assert len(children) >= 3
    training.kill()
    training.join()
    _, alive = psutil.wait_procs(children, timeout=20)
    for process in alive:
        process.kill()
    assert not alive
