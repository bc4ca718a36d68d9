"""The recipes and protocols that come with the package, by name."""

from __future__ import annotations

import sys
from pathlib import Path

from training.errors import RecipeError

_PLACES = (
    Path(__file__).resolve().parents[1] / 'config' / 'training',
    Path(sys.prefix) / 'share' / 'depth_anything_ros' / 'config' / 'training',
)


def config_file(name: str, folder: str = '') -> Path:
    """The file of a recipe or protocol.

    Args:
        name: a path, or the name of one that comes with the package (`smoke`, `v2-student-s`).
        folder: where among the package's they are: '' for recipes, `protocols`.

    Raises:
        RecipeError: there is none.
    """
    given = Path(name).expanduser()
    if given.suffix in ('.yaml', '.yml'):
        if not given.is_file():
            raise RecipeError(f'{name}: no such file')
        return given
    for place in _PLACES:
        if (found := place / folder / f'{name}.yaml').is_file():
            return found
    known = sorted({file.stem for place in _PLACES for file in (place / folder).glob('*.yaml')})
    raise RecipeError(f'{name}: no file .yaml, and none of the names {", ".join(known)}')
