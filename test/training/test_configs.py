"""Recipes by name: where they are looked for, and what is said where there are none."""

import pytest

from training import configs
from training.configs import config_file
from training.errors import RecipeError


def test_a_recipe_that_colcon_installed_is_found_by_its_name(tmp_path, monkeypatch):
    recipe = tmp_path / 'share/depth_anything_ros/config/training/x.yaml'
    recipe.parent.mkdir(parents=True)
    recipe.write_text('steps: 3\n')
    with pytest.raises(RecipeError, match=r'x: no file \.yaml, and none of the names .*smoke'):
        config_file('x')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/opt/ros/nowhere:{tmp_path}')
    assert config_file('x') == recipe
    assert config_file('smoke').is_file()


def test_where_no_recipe_is_at_all_the_error_says_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(configs, 'share_files', lambda name: [tmp_path / 'a' / name, tmp_path / 'b' / name])
    with pytest.raises(RecipeError, match=rf'smoke: .* {tmp_path}/a/config/training, {tmp_path}/b/config/training$'):
        config_file('smoke')


def test_a_recipe_of_a_user_whom_nobody_knows_is_no_file():
    with pytest.raises(RecipeError, match=r'~nobody-of-that-name/x\.yaml: no such file'):
        config_file('~nobody-of-that-name/x.yaml')
