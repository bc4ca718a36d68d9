"""Recipes: the file, what the command line changes, and how mistakes are told."""

from dataclasses import dataclass, field

import pytest

from training.errors import RecipeError
from training.recipe import free, read_recipe, result_settings, settings_fingerprint


@dataclass(frozen=True)
class Data:
    """A data set."""

    kind: str = 'shards'
    path: str = free('')


@dataclass(frozen=True)
class Settings:
    """A stage."""

    output: str = free('')
    steps: int = 10
    learning_rate: float = 5e-6
    data: list[Data] = field(default_factory=list)
    one: Data = field(default_factory=Data)

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError('steps must be positive')


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / 'recipe.yaml'
    path.write_text('# A comment\nsteps: 20\nlearning_rate: 1e-5\ndata:\n  - kind: hypersim\n    path: /x\n')
    return path


def test_the_command_line_takes_precedence_over_the_file_and_the_file_over_the_defaults(recipe):
    settings = read_recipe(Settings, recipe, ['learning_rate=3e-4', 'one.path=/y'])
    assert settings == Settings('', 20, 3e-4, [Data('hypersim', '/x')], Data('shards', '/y'))


@pytest.mark.parametrize(
    ('override', 'said'),
    [
        ('stepz=3', 'stepz'),
        ('steps=0', 'steps must be positive'),
        ('steps=many', 'steps'),
        ('one.colour=red', 'colour'),
        ('steps', 'key=value'),
    ],
)
def test_a_mistake_is_named(recipe, override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe(Settings, recipe, [override])


def test_an_unknown_key_in_the_file_and_a_missing_file_are_refused(recipe, tmp_path):
    recipe.write_text('stepz: 3\n')
    with pytest.raises(RecipeError, match='stepz'):
        read_recipe(Settings, recipe)
    with pytest.raises(RecipeError, match='absent'):
        read_recipe(Settings, tmp_path / 'absent.yaml')


def test_only_settings_that_change_the_result_are_compared():
    one = Settings(output='/a', data=[Data('hypersim', '/x')])
    assert settings_fingerprint(one) == settings_fingerprint(Settings(output='/b', data=[Data('hypersim', '/y')]))
    assert settings_fingerprint(one) != settings_fingerprint(Settings(data=[Data('vkitti2', '/x')]))
    assert result_settings(one)['data'] == [{'kind': 'hypersim'}]
