"""config/depth.yaml against the node's own table of parameters."""

from dataclasses import fields
from pathlib import Path

import yaml

from depth_anything_ros.node.settings import Settings, ros_name

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'depth.yaml'


def flat(values, prefix=''):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def test_the_file_has_every_parameter_with_its_default_and_no_other():
    written = dict(flat(yaml.safe_load(CONFIG.read_text())['/**']['ros__parameters']))
    declared = {ros_name(item): item.default for item in fields(Settings)}
    assert written == declared
    # 8 where 8.0 is meant is an integer to ROS, and refused.
    assert {name: type(value) for name, value in written.items()} == {
        name: type(value) for name, value in declared.items()
    }
