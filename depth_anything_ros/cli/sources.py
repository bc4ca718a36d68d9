"""The sources of metres that the options ask for, with their parameters."""

from __future__ import annotations

import math
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

from depth_anything_ros.alignment import (
    AlignerSettings,
    AlignmentSource,
    UnknownSourceError,
    make_source,
    parameters_of,
    source_types,
)
from depth_anything_ros.cli.errors import CommandError, UsageError

# As in ROS, where a parameter is alignment.<source>.<name>, or alignment.<name> if it is not one of a source.
_PREFIX = 'alignment.'
# Between 'points,max_samples=500' and what follows; a comma in a value is none.
_NEXT_ASSIGNMENT = re.compile(r',(?=[A-Za-z_][\w.]*=)')
_BOOLEANS = {'true': True, 'false': False}


@dataclass(frozen=True)
class Choice:
    """A source, and how what it says is tracked. label: as the user wrote it."""

    label: str
    source: AlignmentSource
    settings: AlignerSettings


def choose_sources(args: Namespace) -> tuple[Choice, ...]:
    """What --alignment-source, --set, --scale and --shift, or a --scale-reference alone, ask for; at least one.

    Raises UsageError for sources and parameters that there are not, and for values that are not accepted.
    """
    texts = args.alignment_source or []
    if args.scale is not None or args.shift is not None:
        if texts or args.scale_reference:
            other = '--alignment-source' if texts else '--scale-reference'
            raise UsageError(f'{other} and --scale exclude each other')
        return (fixed_choice(args),)
    if not texts:
        texts = ['depth' if args.scale_reference else 'none']
    common = dict(map(_assignment, args.set))
    choices = tuple(_choose(text, common) for text in texts)
    _refuse_unused(common, choices)
    return choices


def fixed_choice(args: Namespace) -> Choice:
    """What --scale and --shift ask for: source none without them; raises UsageError."""
    if (args.scale is None) != (args.shift is None):
        raise UsageError('--scale and --shift go together: 1 / depth = scale * disparity + shift')
    if args.scale is None:
        return Choice('none', make_source('none'), AlignerSettings())
    values = {'scale': args.scale, 'shift': args.shift}
    return Choice('fixed', _make('--scale, --shift', 'fixed', values), AlignerSettings())


def split_parameters(text: str) -> tuple[str, dict[str, str]]:
    """A name and the parameters after it, as in 'points,max_samples=500'; raises UsageError."""
    name, *assignments = _NEXT_ASSIGNMENT.split(text)
    return name, dict(map(_assignment, assignments))


def make_with(option: str, name: str, parameters: Mapping[str, str]) -> AlignmentSource:
    """Make a source with parameters as text; raises UsageError, which names the option, and CommandError."""
    (values,) = _read(option, parameters, _tables(name, source_types()[name])[:1])
    return _make(option, name, values)


def _make(option: str, name: str, values: Mapping[str, Any]) -> AlignmentSource:
    try:
        return make_source(name, values)
    except ValueError as error:
        raise UsageError(f'{option}: {error}') from error
    except Exception as error:  # of a foreign source
        raise CommandError(f'{option}: {name} cannot be made: {type(error).__name__}: {error}') from error


def _choose(text: str, common: Mapping[str, str]) -> Choice:
    name, own = split_parameters(text)
    types = source_types()
    if name not in types:
        raise UsageError(f'--alignment-source {text}: {_why_unknown(name)}')
    tables = _tables(name, types[name])
    shared = {key: value for key, value in common.items() if _find(key, tables) is not None}
    of_source, of_aligner = _read(f'--alignment-source {text}', shared | own, tables)
    source = _make(f'--alignment-source {text}', name, of_source)
    try:
        return Choice(text, source, AlignerSettings(**of_aligner))
    except ValueError as error:
        raise UsageError(f'--alignment-source {text}: {error}') from error


def _read(option: str, parameters: Mapping[str, str], tables) -> list[dict[str, Any]]:
    """The values of parameters, for each table by field name."""
    values: list[dict[str, Any]] = [{} for _ in tables]
    for key, text in parameters.items():
        found = _find(key, tables)
        if found is None:
            raise UsageError(f'{option}: there is no parameter {key}; {_listed(tables)}')
        index, item = found
        values[index][item.name] = _convert(f'{option}: {key}={text}', text, item)
    return values


def _why_unknown(name: str) -> str:
    try:
        make_source(name)
    except UnknownSourceError as error:
        return str(error)
    raise AssertionError(f'{name} is a source')


def _refuse_unused(common: Mapping[str, str], choices: Iterable[Choice]) -> None:
    names = [choice.label.partition(',')[0] for choice in choices]
    tables = [table for name in names for table in _tables(name, source_types()[name])]
    unused = [key for key in common if _find(key, tables) is None]
    if unused:
        raise UsageError(f'--set: there is no parameter {unused[0]}; {_listed(dict(tables).items())}')


def _tables(name: str, source_type: type) -> tuple[tuple[str, tuple[Field, ...]], ...]:
    """The parameters of a source, and those of all: each with the prefix that names have in ROS."""
    return (f'{name}.', parameters_of(source_type)), ('', fields(AlignerSettings))


def _find(key: str, tables) -> tuple[int, Field] | None:
    """The table and the field of 'max_samples', 'points.max_samples' or 'alignment.points.max_samples'."""
    key = key.removeprefix(_PREFIX)
    for index, (prefix, items) in enumerate(tables):
        for item in items:
            if key in (item.name, prefix + item.name):
                return index, item
    return None


def _listed(tables) -> str:
    return 'there are ' + ', '.join(f'{prefix}{item.name}' for prefix, items in tables for item in items)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition('=')
    if not (name and equals):
        raise UsageError(f"expected NAME=VALUE, got '{text}'")
    return name.strip(), value.strip()


def _convert(where: str, text: str, item: Field) -> Any:
    """The value of a parameter from its text, by the type of its default; raises UsageError, which says where."""
    try:
        return _parse(text, item.default)
    except ValueError as error:
        raise UsageError(f'{where}: expected {_expected(item.default)}') from error


def _parse(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text.lower()]
    if isinstance(default, tuple):
        return tuple(_finite(part) for part in re.split(r'[\s,]+', text.strip('[]() ')) if part)
    if isinstance(default, float):
        return _finite(text)
    return type(default)(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _expected(default: Any) -> str:
    if isinstance(default, bool):
        return 'true or false'
    kinds = {int: 'an integer', float: 'a finite number', tuple: 'finite numbers with commas between'}
    return kinds.get(type(default), 'a text')
