"""The recipes and protocols that come with the package, by name."""

from __future__ import annotations

import os
from pathlib import Path

from depth_anything_ros.files import share_files
from training.errors import RecipeError


def config_file(name: str, folder: str = '') -> Path:
    """The file of a recipe or protocol.

    Args:
        name: a path, or the name of one that comes with the package (`smoke`, `v2-student-s`).
        folder: where among the package's they are: '' for recipes, `protocols`.

    Raises:
        RecipeError: there is none.
    """
    # Of a user whom nobody knows it stays what it is: no such file.
    given = Path(os.path.expanduser(name))
    if given.suffix in ('.yaml', '.yml'):
        if not given.is_file():
            raise RecipeError(f'{name}: no such file')
        return given
    places = [place / folder for place in share_files('config/training')]
    for place in places:
        if (found := place / f'{name}.yaml').is_file():
            return found
    known = sorted({file.stem for place in places for file in place.glob('*.yaml')})
    if not known:
        looked_in = ', '.join(map(str, places))
        raise RecipeError(f'{name}: no file .yaml, and no names either: there are none in {looked_in}')
    raise RecipeError(f'{name}: no file .yaml, and none of the names {", ".join(known)}')
