"""Which sources there are: the built-in ones, and those that other packages install."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from depth_anything_ros.alignment.hook import AlignmentSource, parameters_of
from depth_anything_ros.alignment.sources import BUILT_IN

ENTRY_POINTS = 'depth_anything_ros.alignment_sources'
"""The entry-point group: each entry is the class of a source, under the name that alignment.source calls it by."""

_logger = logging.getLogger(__name__)


class UnknownSourceError(ValueError):
    """There is no source of this name, or its package is broken; the message says which there are."""


@cache
def source_types() -> Mapping[str, type[AlignmentSource]]:
    """All sources that work, by name. One that cannot be loaded is named in the log, and again when it is chosen."""
    types = dict(BUILT_IN)
    for name, entry in _installed().items():
        try:
            types[name] = _load(entry)
        except UnknownSourceError as error:
            _logger.warning('%s', error)
    return types


def make_source(name: str, parameters: Mapping[str, Any] | None = None) -> AlignmentSource:
    """Make a source by name; parameters by field name, defaults for the others.

    Raises UnknownSourceError, and ValueError for parameters that the source does not have or accept.
    """
    types = source_types()
    if name not in types:
        if name in _installed():
            _load(_installed()[name])
        raise UnknownSourceError(f"unknown alignment source '{name}'; there are {', '.join(sorted(types))}")
    known = {item.name: item.metadata for item in parameters_of(types[name])}
    for parameter, value in (parameters or {}).items():
        if parameter not in known:
            there_are = ', '.join(sorted(known)) or 'none'
            raise ValueError(f"alignment source '{name}' has no parameter {parameter}; it has {there_are}")
        _check_value(f'alignment.{name}.{parameter}', value, known[parameter])
    return types[name](**(parameters or {}))


def _check_value(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    choices, between = metadata.get('choices'), metadata.get('between')
    if choices and value not in choices:
        raise ValueError(f"{name} is '{value}', expected one of: {', '.join(choices)}")
    if between:
        low, high = between
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(low <= number <= high for number in numbers):
            raise ValueError(f'{name} is {value}, expected {low:g} to {high:g}')


def _installed() -> dict:
    found = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in BUILT_IN:
            _logger.warning('%s: the name %s is taken by a built-in source', entry.value, entry.name)
        else:
            found[entry.name] = entry
    return found


def _load(entry) -> type[AlignmentSource]:
    try:
        source_type = entry.load()
        parameters_of(source_type)
    except Exception as error:  # whatever a foreign module does when it is imported must not end the node
        raise UnknownSourceError(
            f"alignment source '{entry.name}' ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return source_type
