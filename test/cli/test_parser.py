import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest
import yaml

from depth_anything_ros.checkpoints import DEFAULT_MODEL
from depth_anything_ros.cli import parser
from depth_anything_ros.cli.main import main
from depth_anything_ros.geometry import COLORMAPS

PARAMETERS = Path(__file__).resolve().parents[2] / 'config' / 'depth.yaml'


def test_choices_are_those_of_the_libraries():
    assert tuple(COLORMAPS) == parser.COLORMAPS


def test_defaults_are_those_of_the_node():
    args = parser.make_parser().parse_args(['bag', 'in', '--output', 'out'])
    node = yaml.safe_load(PARAMETERS.read_text())['/**']['ros__parameters']
    for name, parameter in {
        'model': 'model',
        'checkpoint': 'checkpoint',
        'accept_license': 'accept_license',
        'device': 'device',
        'precision': 'precision',
        'backend': 'backend',
        'input_size': 'input_size',
        'projection': 'projection',
        'range_min': 'range.min_m',
        'range_max': 'range.max_m',
        'edge_threshold': 'edge.threshold',
        'colormap': 'colormap',
        'stride': 'points.stride',
    }.items():
        assert getattr(args, name) == node[parameter], name


def test_help_names_the_default_model(capsys):
    with pytest.raises(SystemExit):
        main(['bench', '--help'])
    assert f'(default: {DEFAULT_MODEL},' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('command', ['bag', 'align'])
def test_help_does_not_import_torch(command):
    code = f'import sys; from depth_anything_ros.cli.main import main\ntry: main(["{command}", "--help"])\n'
    code += 'finally: print("torch" in sys.modules, file=sys.stderr)'
    start = perf_counter()
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert '--scale-reference' in done.stdout
    assert done.stderr.strip() == 'False'
    assert perf_counter() - start < 5  # a quarter of a second on an idle machine


@pytest.mark.parametrize(
    'argv',
    [
        [],
        ['nothing'],
        ['image', 'a.png'],
        ['bag', 'a', '--output', 'b', '--stride', '0'],
        ['align', 'a', '--remap', 'imu'],
    ],
)
def test_wrong_arguments_exit_with_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert 'error:' in capsys.readouterr().err


@pytest.mark.parametrize('size', ['640', 'x', '0x480', 'axb'])
def test_a_size_is_two_positive_numbers(size, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['bench', '--size', size])
    assert stop.value.code == 2
    capsys.readouterr()
