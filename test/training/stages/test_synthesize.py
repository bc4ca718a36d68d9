"""The stage synthesize: the same shards in any way of making them, and mistakes told before work starts."""

import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import psutil
import pytest

pytest.importorskip('embreex')
pytest.importorskip('trimesh')

from training.configs import config_file
from training.data import ShardDataset
from training.errors import DataError, MismatchError, RecipeError, TrainingError
from training.recipe import read_recipe
from training.stages import synthesize
from training.stages.synthesize import KINDS, Settings, is_held_out, kind_of

SMALL = {
    'scenes': 4, 'views_per_scene': 2, 'size': [32, 48], 'kinds': {'tabletop': 1.0, 'corridor': 1.0},
    'held_out_fraction': 0.25, 'shard_size': 2, 'supersampling': 1, 'seed': 3,
}  # fmt: skip


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob('*.tar'))}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """An output, made without interruption in this process."""
    folder = tmp_path_factory.mktemp('made')
    return folder, synthesize.run(Settings(output=str(folder), workers=0, **SMALL))


def test_scenes_are_held_out_whole_and_the_manifest_counts(made):
    folder, manifest = made
    train, held_out = (ShardDataset(folder, split) for split in ('train', 'held_out'))
    assert (len(train), len(held_out), train.shard_sizes) == (6, 2, [2, 2, 2])
    scenes = [{dataset[index].meta['scene'] for index in range(len(dataset))} for dataset in (train, held_out)]
    assert [len(found) for found in scenes] == [3, 1]
    assert not scenes[0] & scenes[1]
    assert manifest['images'] == 8
    assert sum(manifest['scenes']['train'].values()) == 3
    assert manifest['images_per_second'] == pytest.approx(8 / manifest['seconds'], rel=0.2)
    for ranges in manifest['depth'].values():
        values = [ranges[f'p{percentile}_m'] for percentile in (1, 25, 50, 75, 99)]
        assert values == sorted(values)
        assert 0 <= ranges['sky'] < 1


def test_samples_carry_what_training_needs(made):
    sample = ShardDataset(made[0], 'train')[0]
    assert (sample.image.shape, sample.depth.shape) == ((32, 48, 3), (32, 48))
    assert sample.meta['source'] == 'synthetic'
    assert sample.meta['scale'] == 'metric'
    assert np.shape(sample.meta['K']) == (3, 3)
    assert not np.isnan(sample.target_disparity()).any()


def test_a_killed_run_goes_on_with_more_processes_to_the_bytes_of_one_and_its_own_processes_end(made, tmp_path):
    program = (
        'from training.stages import synthesize\n'
        "if __name__ == '__main__':\n"
        f'    synthesize.run(synthesize.Settings(output={str(tmp_path / "out")!r}, workers=1, **{SMALL!r}))\n'
    )
    (tmp_path / 'program.py').write_text(program)
    process = subprocess.Popen([sys.executable, str(tmp_path / 'program.py')], stderr=subprocess.DEVNULL)
    children = []
    deadline = time.monotonic() + 120
    while not list((tmp_path / 'out').glob('*.index.json')):
        assert process.poll() is None
        assert time.monotonic() < deadline
        children = psutil.Process(process.pid).children(recursive=True) or children
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.index.json')}
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert gone
    assert not alive
    assert len(kept) < len(shards(made[0])) - 1
    manifest = synthesize.run(Settings(output=str(tmp_path / 'out'), workers=2, **SMALL))
    assert shards(tmp_path / 'out') == shards(made[0])
    assert manifest['shards'] == made[1]['shards']
    # What was there has not been made again.
    assert {name: (tmp_path / 'out' / name).stat().st_mtime_ns for name in kept} == kept


def test_a_finished_run_does_nothing_and_another_recipe_is_refused(made):
    folder, manifest = made
    before = shards(folder)
    assert synthesize.run(Settings(output=str(folder), workers=5, **SMALL)) == manifest
    with pytest.raises(MismatchError, match=r'recipe.seed was 3, is now 4'):
        synthesize.run(Settings(output=str(folder), **{**SMALL, 'seed': 4}))
    assert shards(folder) == before


@pytest.mark.parametrize('scenes', [40, 1000])
def test_kinds_come_in_the_shares_asked_for_in_both_splits(scenes):
    settings = Settings(scenes=scenes, held_out_fraction=0.2)
    held_out = [scene for scene in range(scenes) if is_held_out(scene, 0.2)]
    assert len(held_out) == scenes // 5
    for split in (held_out, sorted({*range(scenes)} - {*held_out})):
        found = [kind_of(scene, settings) for scene in split]
        for kind in KINDS:
            assert found.count(kind) / len(split) == pytest.approx(
                settings.kinds[kind] / 12, abs=1.5 / len(split) ** 0.9
            )


def test_a_kind_without_a_share_does_not_occur():
    settings = Settings(kinds={'street': 1.0, 'room': 0.0})
    assert {kind_of(scene, settings) for scene in range(200)} == {'street'}


@pytest.mark.parametrize(
    ('override', 'said'),
    [
        ('scenes=0', 'scenes must be at least 1'),
        ('size=[0,5]', 'at least 16 pixels'),
        ('size=[64]', 'at least 16 pixels'),
        ('field_of_view=[60]', 'field_of_view'),
        ('field_of_view=[70,60]', 'field_of_view'),
        ('field_of_view=[0,60]', 'field_of_view'),
        ('field_of_view=[60,179]', 'at most 140 degrees'),
        ('kinds={forest: 1}', "no 'forest'"),
        ('kinds={room: 0}', 'one is positive'),
        ('kinds={room: .nan}', 'one is positive'),
        ('kinds={}', 'one is positive'),
        ('held_out_fraction=1', 'held_out_fraction'),
        ('scenes=3', 'leaves a split empty'),
        ('workers=-1', 'negative'),
        ('supersampling=0', 'supersampling'),
    ],
)
def test_settings_out_of_range_are_told(override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe(Settings, config_file('synthesize'), [override])


def test_the_recipe_that_comes_along_holds_the_defaults():
    assert read_recipe(Settings, config_file('synthesize')) == Settings()


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(synthesize, 'find_spec', lambda name: None if name == 'embreex' else object())
    with pytest.raises(TrainingError, match=r'embreex: pip install'):
        synthesize.run(Settings(output=str(tmp_path / 'out')))
    assert not (tmp_path / 'out').exists()


def test_textures_must_be_pictures_and_one_that_is_broken_is_counted(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    settings = {**SMALL, 'scenes': 1, 'kinds': {'tabletop': 1.0}, 'held_out_fraction': 0.0, 'textures': str(folder)}
    with pytest.raises(DataError, match='no pictures'):
        synthesize.run(Settings(output=str(tmp_path / 'out'), **settings))
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8\xff not a picture')
    with pytest.raises(DataError, match='cannot be read'):
        synthesize.run(Settings(output=str(tmp_path / 'none'), workers=0, **settings))
    cv2.imwrite(str(folder / 'good.png'), np.full((30, 40, 3), 90, np.uint8))
    manifest = synthesize.run(Settings(output=str(tmp_path / 'out'), workers=0, **settings))
    assert manifest['unreadable_textures'] == ['broken.jpg']
    assert json.loads((tmp_path / 'out' / 'manifest.json').read_text())['images'] == 2
    # Other pictures are another input.
    cv2.imwrite(str(folder / 'more.png'), np.full((30, 40, 3), 200, np.uint8))
    with pytest.raises(MismatchError, match=r'inputs.textures'):
        synthesize.run(Settings(output=str(tmp_path / 'out'), **settings))
