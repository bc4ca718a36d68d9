"""Recipes: a stage's settings as a dataclass, from commented YAML and from the command line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from training.errors import RecipeError
from training.files import fingerprint

Settings = TypeVar('Settings')
_FREE = 'changes_no_result'


def free(default: Any = dataclasses.MISSING, default_factory: Any = dataclasses.MISSING) -> Any:
    """A setting that does not change the result: a path, a number of workers, a device.

    An interrupted stage may be continued with another value of it. Where inputs come from is such a setting too: what
    they are is compared by their content (see Run).
    """
    return dataclasses.field(default=default, default_factory=default_factory, metadata={_FREE: True})


def read_recipe(kind: type[Settings], path: str | os.PathLike[str] | None, overrides: Sequence[str] = ()) -> Settings:
    """Read a stage's settings from a YAML file, `key=value` taking precedence over it.

    Args:
        kind: the dataclass of settings; its `__post_init__` raises ValueError for values out of range.
        path: the recipe; None for the defaults alone.
        overrides: `key=value` or `section.key=value`, values as in YAML.

    Raises:
        RecipeError: the file is absent or no YAML, a key is unknown, a value has a wrong type or is out of range.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, fail_untyped=True, sub_configs=False)
    for item in overrides:
        if '=' not in item.lstrip('-'):
            raise RecipeError(f'{item!r}: settings are given as key=value')
    try:
        config = parser.get_defaults()
        if path is not None:
            config = parser.parse_path(os.path.expanduser(path), defaults=True)
        config = parser.parse_args([f'--{item.lstrip("-")}' for item in overrides], namespace=config)
        return kind(**parser.instantiate(config).as_dict())
    except (Exception, SystemExit) as error:  # of the parser and of __post_init__: all about what the user wrote
        where = f'{path}: ' if path is not None else ''
        raise RecipeError(f'{where}{_first_lines(error)}') from error


def check_left_out(settings: Any, filled: Mapping[str, Sequence[str]], by: str) -> None:
    """Check that settings of stages within others are at their default, because something else fills them.

    Args:
        settings: the outer ones.
        filled: by stage, the names in its settings.
        by: what fills them, and what to do, to end the message with.

    Raises:
        ValueError: one is given.
    """
    for stage, names in filled.items():
        given = getattr(settings, stage)
        default = type(given)()
        for name in names:
            if getattr(given, name) != getattr(default, name):
                raise ValueError(f'{stage}.{name} is filled by {by}')


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return '; '.join(lines[:3]) or type(error).__name__


def as_dict(settings: Any) -> dict[str, Any]:
    """All settings as JSON values."""
    return _plain(settings, with_free=True)


def result_settings(settings: Any) -> dict[str, Any]:
    """The settings that change the result, as JSON values, without the free ones at any depth."""
    return _plain(settings, with_free=False)


def settings_fingerprint(settings: Any) -> str:
    """A digest of the settings that change the result."""
    return fingerprint(result_settings(settings))


def _plain(value: Any, *, with_free: bool) -> Any:
    if dataclasses.is_dataclass(value):
        fields = (field for field in dataclasses.fields(value) if with_free or not field.metadata.get(_FREE))
        return {field.name: _plain(getattr(value, field.name), with_free=with_free) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, with_free=with_free) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, with_free=with_free) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
