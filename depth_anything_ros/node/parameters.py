"""A parameter of the node: what it is called, what it may be, and how ROS is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field, dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor


class SettingsError(ValueError):
    """The parameters do not go together; the message says which and why."""


@dataclass(frozen=True)
class Declaration:
    """One parameter. default: bool, int, float, str, or a tuple of floats or of strings that is not empty.

    between: least and largest value. choices: the only values. live: may be changed while the node runs.
    """

    name: str
    default: Any
    description: str
    between: tuple[float, float] | None = None
    choices: Sequence[str] | None = None
    live: bool = True

    @classmethod
    def of_source(cls, source: str, item: Field) -> Declaration:
        """The parameter for a field of an alignment source; raises TypeError for a type that no parameter has."""
        name = f'alignment.{source}.{item.name}'
        default = item.default
        numbers = isinstance(default, tuple) and default and all(isinstance(number, float) for number in default)
        if not (numbers or isinstance(default, (bool, int, float, str))):
            raise TypeError(
                f'{name} has the default {default!r}, expected bool, int, float, str or a tuple of floats that is '
                'not empty'
            )
        meta = item.metadata
        return cls(name, default, meta.get('description', ''), meta.get('between'), meta.get('choices'))

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows, and rclpy checks."""
        descriptor = ParameterDescriptor(description=self.description, read_only=not self.live)
        if self.choices:
            descriptor.additional_constraints = 'One of: ' + ', '.join(self.choices)
        if self.between:
            low, high = self.between
            if isinstance(self.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
                ]
        return descriptor

    def check(self, value: Any) -> None:
        """Check what rclpy does not: choices, and numbers in arrays; raises SettingsError."""
        if self.choices and value not in self.choices:
            raise SettingsError(f"{self.name} is '{value}', expected one of: {', '.join(self.choices)}")
        if isinstance(value, tuple) and not isinstance(self.default[0], str):
            low, high = self.between or (-math.inf, math.inf)
            if not all(math.isfinite(number) and low <= number <= high for number in value):
                wanted = f'finite numbers from {low:g} to {high:g}' if self.between else 'finite numbers'
                raise SettingsError(f'{self.name} is {list(value)}, expected {wanted}')
