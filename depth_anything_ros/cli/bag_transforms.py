"""The pose that the user gives in place of TF."""

from __future__ import annotations

from collections.abc import Sequence

from depth_anything_ros.cli.errors import UsageError
from depth_anything_ros.geometry.transforms import FixedTransforms, Transforms


def fixed_transforms(option: str, pose: Sequence[float] | None) -> Transforms | None:
    """The pose that an option gives as X Y Z QX QY QZ QW, None where it is not given; raises UsageError."""
    if pose is None:
        return None
    try:
        return FixedTransforms(pose)
    except ValueError as error:
        raise UsageError(f'{option}: {error}') from error
