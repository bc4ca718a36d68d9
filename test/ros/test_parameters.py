"""config/depth.yaml against the node's own table of parameters."""

from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml

from depth_anything_ros.alignment import AlignerSettings
from depth_anything_ros.alignment.sources import BUILT_IN
from depth_anything_ros.node.settings import Settings, declarations

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'depth.yaml'


def flat(values, prefix=''):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def is_ours(name):
    """Not of a source that another package installs."""
    group, _, rest = name.partition('.')
    return group != 'alignment' or '.' not in rest or rest.partition('.')[0] in BUILT_IN


def test_the_file_has_every_parameter_with_its_default_and_no_other():
    written = dict(flat(yaml.safe_load(CONFIG.read_text())['/**']['ros__parameters']))
    declared = {item.name: item.default for item in declarations() if item.name in written or is_ours(item.name)}
    declared = {name: list(value) if isinstance(value, tuple) else value for name, value in declared.items()}
    assert written == declared
    # 8 where 8.0 is meant is an integer to ROS, and refused.
    assert {name: type(value) for name, value in written.items()} == {
        name: type(value) for name, value in declared.items()
    }


# What the aligner calls otherwise than the node does.
NAMES = {'stabilizer_s': 'stabilizer.time_constant_s'}


@pytest.mark.parametrize('item', fields(AlignerSettings), ids=lambda item: item.name)
def test_every_setting_of_the_aligner_is_a_parameter_that_reaches_it(item):
    defaults = {declaration.name: declaration.default for declaration in declarations()}
    settings = Settings.read(defaults)
    assert settings.aligner_settings == AlignerSettings()
    name = NAMES.get(item.name, f'alignment.{item.name}')
    value = not item.default if isinstance(item.default, bool) else item.default + 1
    after = settings.changed({name: value}).aligner_settings
    assert asdict(after) == {**asdict(AlignerSettings()), item.name: value}
