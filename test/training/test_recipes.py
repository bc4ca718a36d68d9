"""The recipes: the papers' numbers as published, each setting explained."""

import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from depth_anything_ros.checkpoints import catalogue
from training.configs import config_file
from training.data.readers import READERS
from training.data.spec import DataSpec
from training.recipe import read_recipe
from training.stages import retrain, student
from training.stages import sky as sky_stage

STUDENTS = [f'{version}-student-{size}' for version in ('v1', 'v2') for size in 'sbl']
RECIPES = {
    'v1-teacher': 'teacher',
    'v2-teacher': 'teacher',
    **dict.fromkeys(STUDENTS, 'student'),
    'metric-indoor': 'metric',
    'metric-outdoor': 'metric',
}


# Of stages with the same name, with the values that the stage has without a recipe.
OF_DEFAULTS = ('evaluate', 'ingest', 'sky')


def stage_of(name):
    return importlib.import_module(f'training.stages.{RECIPES.get(name, name)}')


def settings_of(name):
    return read_recipe(stage_of(name).Settings, config_file(name))


@pytest.mark.parametrize('name', [*RECIPES, *OF_DEFAULTS])
def test_every_setting_is_in_the_recipe_with_a_comment(name):
    lines = config_file(name).read_text().splitlines()
    keys = {match[1]: number for number, line in enumerate(lines) if (match := re.match(r'(\w+):', line))}
    assert {*keys} == {field.name for field in dataclasses.fields(settings_of(name))}
    bare = [key for key, number in keys.items() if not lines[number - 1].startswith('# ')]
    assert not bare


def specs_in(value):
    """The data sets that a recipe or a protocol names, at any depth."""
    if isinstance(value, dict) and 'type' in value:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from specs_in(inner)


def test_every_data_set_of_the_recipes_has_a_split_and_options_that_its_reader_knows():
    found = [
        (path.name, spec)
        for path in config_file('smoke').parent.rglob('*.yaml')
        for spec in specs_in(yaml.safe_load(path.read_text()))
    ]
    assert {spec['type'] for _, spec in found} > {'shards', 'vkitti2', 'hypersim', 'kitti'}
    for file, spec in found:
        options = {*spec.get('options', ())}
        if spec['type'] == 'shards':
            assert not options, file
            continue
        module, _, kind = READERS[spec['type']].partition(':')
        reader = getattr(importlib.import_module(module), kind)
        assert reader.splits is None or spec.get('split', '') in reader.splits, (file, spec)
        assert options <= {field.name for field in dataclasses.fields(reader.Options)}, (file, spec)


@pytest.mark.parametrize('name', OF_DEFAULTS)
def test_the_recipe_has_the_defaults(name):
    assert settings_of(name) == stage_of(name).Settings()


@pytest.mark.parametrize('name', RECIPES)
def test_what_all_papers_share(name):
    settings = settings_of(name)
    assert settings.size == [518, 518]
    assert (settings.encoder_lr, settings.decoder_lr) == (5e-6, 5e-5)
    assert (settings.weight_decay, settings.betas) == (0.01, [0.9, 0.999])
    assert settings.encoder == 'pretrained'
    assert not settings.accept_license


def test_v1_teacher_sees_its_labelled_sets_twenty_times():
    settings = settings_of('v1-teacher')
    assert settings.architecture == 'v1-large'
    assert settings.steps * settings.batch_size == 20 * 1_500_000
    assert (settings.gradient_weight, settings.schedule) == (0.0, 'linear')
    assert sorted(spec.type for spec in settings.data) == [
        'blendedmvs', 'diml', 'hrwsi', 'irs', 'megadepth', 'tartanair',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'architecture'), list(zip(STUDENTS[:3], ('v1-small', 'v1-base', 'v1-large'), strict=True))
)
def test_v1_students_see_62_million_images_once_at_one_to_two(name, architecture):
    settings = settings_of(name)
    unlabelled = settings.batch_size - settings.labelled_per_batch
    assert settings.architecture == architecture
    assert unlabelled == 2 * settings.labelled_per_batch
    assert settings.steps * unlabelled == 62_000_000
    assert settings.labelled_weight == settings.unlabelled_weight == settings.alignment_weight
    assert (settings.alignment_margin, settings.cutmix, settings.strong) == (0.85, 0.5, True)
    assert (settings.gradient_weight, settings.schedule) == (0.0, 'linear')
    assert len(settings.unlabelled) == 8
    assert all(spec.labels for spec in settings.unlabelled)
    assert len(settings.labelled) == 6


@pytest.mark.parametrize('name', ['v1-teacher', *STUDENTS[:3]])
def test_v1_sets_the_sky_of_its_photos_by_masks_that_the_documented_command_makes(name):
    settings = settings_of(name)
    specs = settings.data if name == 'v1-teacher' else settings.labelled
    masked = {spec.type: spec for spec in specs if spec.sky}
    assert {*masked} == {'diml', 'hrwsi', 'megadepth'}
    assert not settings.mask_sky
    documented = (Path(__file__).parents[2] / 'docs/reproduction.md').read_text()
    command = re.search(r'`depth-anything-train sky --recipe sky (.+?)`', documented)[1]
    for kind, spec in masked.items():
        made = read_recipe(sky_stage.Settings, config_file('sky'), shlex.split(command.replace('NAME', kind)))
        assert (made.data, made.output) == (DataSpec(kind, spec.path), spec.sky)


def test_v2_teacher_learns_from_synthetic_images_alone():
    settings = settings_of('v2-teacher')
    assert (settings.architecture, settings.batch_size, settings.steps) == ('v2-giant', 64, 160_000)
    assert (settings.gradient_weight, settings.trim) == (2.0, 0.0)
    assert sorted(spec.type for spec in settings.data) == ['blendedmvs', 'hypersim', 'irs', 'tartanair', 'vkitti2']


@pytest.mark.parametrize(
    ('name', 'architecture'), list(zip(STUDENTS[3:], ('v2-small', 'v2-base', 'v2-large'), strict=True))
)
def test_v2_students_learn_from_pseudo_labels_alone(name, architecture):
    settings = settings_of(name)
    assert (settings.architecture, settings.batch_size, settings.steps) == (architecture, 192, 480_000)
    assert (settings.labelled, settings.labelled_per_batch) == ([], 0)
    assert (settings.unlabelled_weight, settings.gradient_weight, settings.trim) == (1.0, 2.0, 0.1)
    assert (settings.alignment_margin, settings.cutmix, settings.strong) == (0.85, 0.5, True)
    assert len(settings.unlabelled) == 8


@pytest.mark.parametrize(
    ('name', 'images', 'max_depth', 'data'),
    [('metric-indoor', 59_543, 20.0, 'hypersim'), ('metric-outdoor', 19_559, 80.0, 'vkitti2')],
)
def test_metric_networks_as_the_official_code_trains_them(name, images, max_depth, data):
    settings = settings_of(name)
    assert (settings.batch_size, settings.schedule, settings.poly_power) == (32, 'poly', 0.9)
    assert settings.steps == round(120 * images / 32)
    assert (settings.min_depth, settings.max_depth, settings.silog_lambda) == (0.001, max_depth, 0.5)
    assert (settings.checkpoint, settings.reset_head) == ('v2-small', True)
    assert (settings.warmup_steps, settings.clip_grad, settings.mixed_precision) == (0, 0.0, 'no')
    assert [spec.type for spec in settings.data] == [data]


@pytest.mark.parametrize('name', ['metric-indoor', 'metric-outdoor'])
def test_metric_recipes_and_the_table_of_networks_agree(name):
    from depth_anything_ros.network import ARCHITECTURES

    settings = settings_of(name)
    network = ARCHITECTURES[settings.architecture]
    assert (network.max_depth, network.canonical_focal_px) == (settings.max_depth, settings.canonical_focal_px)


def test_the_recipe_of_a_robot_starts_from_a_free_licence_and_names_what_can_be_set():
    settings = read_recipe(retrain.Settings, config_file('robot'), ['bags=[log]', 'output=out'])
    assert (settings.student.checkpoint, settings.student.architecture) == ('v2-small', 'v2-small')
    licences = {entry.name: entry.licence for entry in catalogue()}
    assert {licences[settings.student.checkpoint], licences[settings.label.teacher]} == {'Apache-2.0'}
    written = yaml.safe_load(config_file('robot').read_text())
    assert {*written} == {field.name for field in dataclasses.fields(retrain.Settings)}
    documented = (Path(__file__).parents[2] / 'docs/from_bags.md').read_text()
    smaller = shlex.split(re.search(r'^ +(student\.architecture=tiny .+?)( \\)?$', documented, re.MULTILINE)[1])
    assert student.check(read_recipe(retrain.Settings, config_file('robot'), smaller).student)[0].multiple == 32
    filled = {'bags', 'images', 'output'}
    assert {*written['ingest']} == {field.name for field in dataclasses.fields(settings.ingest)} - filled
