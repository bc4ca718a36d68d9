"""The command depth-anything-train."""

import subprocess
import sys

import pytest
import yaml

from training.cli.main import STAGES, main


def test_a_recipe_is_found_by_name_and_printed_with_what_overrides_it(capsys):
    assert main(['teacher', '--recipe', 'v2-teacher', '--print', 'steps=7']) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert (settings['steps'], settings['batch_size']) == (7, 64)


def test_every_stage_prints_its_settings(capsys):
    for stage in STAGES:
        assert main([stage, '--print']) in (0, 2), stage
    assert 'Traceback' not in capsys.readouterr().err


def test_an_error_is_one_line_that_says_what_to_do(capsys):
    assert main(['teacher', '--recipe', 'nosuch']) == 2
    assert main(['teacher', '--recipe', 'v2-teacher']) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert 'v2-student-s' in lines[0]
    assert 'output=FOLDER' in lines[1]


@pytest.mark.parametrize('package', ['jsonargparse', 'webdataset'])
def test_a_package_that_is_not_installed_is_one_line_that_says_how_to_install_it(package):
    code = (
        f'import sys; sys.modules[{package!r}] = None\n'  # as if it were not there
        'from training.cli.main import main; sys.exit(main(["ingest", "--print"]))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    hint = "pip install '.[train]' in the checkout of this package"
    assert done.returncode == 1
    assert done.stderr == f'depth-anything-train: {package} is not installed: {hint}\n'
