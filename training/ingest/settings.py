"""The settings of ingest."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.data.spec import DataSpec
from training.recipe import free


@dataclass
class Settings:
    """Settings of ingest; config/training/ingest.yaml explains each."""

    bags: list[str] = free(default_factory=list)  # noqa: RUF009, it is a field
    images: list[DataSpec] = field(default_factory=list)
    output: str = free('')
    topics: list[str] = field(default_factory=list)
    undistort: bool = False
    max_size: int = 0
    encoding: str = 'jpg'
    depth_topics: list[str] = field(default_factory=list)
    any_frame: bool = False
    cloud_topics: list[str] = field(default_factory=list)
    fixed_frame: str = ''
    max_time_difference_s: float = 0.05
    max_points: int = 5000
    every_s: float = 0.0
    min_brightness: float = 15.0
    max_saturated: float = 0.7
    min_sharpness: float = 50.0
    min_difference: float = 3.0
    held_out_fraction: float = 0.1
    held_out_block_s: float = 30.0
    held_out_gap_s: float = 1.0
    shard_size: int = 1000
    contact_sheet: int = 8
    workers: int = free(1)

    def __post_init__(self) -> None:
        """Raises ValueError for values out of range."""
        for name in (
            'max_size', 'max_points', 'every_s', 'min_brightness', 'min_sharpness',
            'min_difference', 'held_out_gap_s', 'contact_sheet',
        ):  # fmt: skip
            self._check(name, getattr(self, name) >= 0, 'at least 0')
        # Images wait for so long, in memory.
        self._check('max_time_difference_s', 0 <= self.max_time_difference_s <= 60, 'in [0, 60]')
        for name in ('shard_size', 'workers'):
            self._check(name, getattr(self, name) >= 1, 'at least 1')
        self._check('held_out_block_s', self.held_out_block_s > 0, 'above 0')
        self._check('held_out_fraction', 0 <= self.held_out_fraction < 1, 'in [0, 1)')
        self._check('max_saturated', 0 < self.max_saturated <= 1, 'in (0, 1]')
        self._check('encoding', self.encoding in ('jpg', 'png'), 'jpg or png')

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(f'{name} must be {expected}, got {getattr(self, name)!r}')
