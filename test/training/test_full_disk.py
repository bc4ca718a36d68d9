"""A disk that fills up: a clear error in each stage, and after room was made the same end as without."""

import subprocess

import pytest
from robot_log import record, settings_of

from training.errors import TrainingError
from training.stages import retrain

# Where it is full: among the shards, among the labels, in the training's first checkpoint and in a later one.
SIZES_KB = (200, 1500, 30_000, 70_000)


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    made = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={SIZES_KB[0]}k', 'tmpfs', folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f'cannot mount a small disk here: {made.stderr.strip()}')
    yield folder
    subprocess.run(['umount', folder], check=True)


def resize(disk, kilobytes):
    subprocess.run(['mount', '-o', f'remount,size={kilobytes}k', disk], check=True)


def test_a_full_disk_costs_nothing_that_was_done(tmp_path, disk, networks):
    bag = record(tmp_path / 'bag')
    whole = retrain.run(settings_of(bag, tmp_path / 'whole', networks))
    settings = settings_of(bag, disk / 'new', networks)
    reached = []
    for size in SIZES_KB:
        resize(disk, size)
        with pytest.raises((OSError, TrainingError), match=r'(?i)no space|cannot be written|enospc'):
            retrain.run(settings)
        reached.append({name for name in ('shards', 'labels', 'student') if (disk / 'new' / name).exists()})
        kept = {path: path.read_bytes() for path in (disk / 'new').glob('shards/*.index.json')}
    assert reached[0] < reached[-1], 'the disk was full in one stage only'
    assert kept
    resize(disk, 400_000)
    again = retrain.run(settings)
    assert {path: path.read_bytes() for path in kept} == kept
    for fact in ('sha256', 'verdict_in_words', 'agreement_with_teacher'):
        assert again[fact] == whole[fact], fact
