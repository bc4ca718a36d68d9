"""The node's parameters: declared from one table, validated together, read as one value."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from depth_anything_ros.alignment import SOURCES
from depth_anything_ros.estimation import BACKENDS
from depth_anything_ros.estimation.backends import PRECISIONS
from depth_anything_ros.geometry import COLORMAPS

# Finer than any camera sees, and a grid of such voxels cannot be numbered.
_MIN_VOXEL_OF_RANGE = 1 / 20_000


class SettingsError(ValueError):
    """The parameters do not go together; the message says which and why."""


def _parameter(
    default: Any,
    description: str,
    *,
    name: str | None = None,
    between: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    live: bool = True,
) -> Any:
    return field(
        default=default,
        metadata={
            'name': name,
            'description': description,
            'between': between,
            'choices': choices,
            'live': live,
        },
    )


@dataclass(frozen=True)
class Settings:
    """Every parameter of the node, by attribute; the ROS name, range and meaning are each field's metadata."""

    model: str = _parameter(
        '',
        'Name of the network in the catalogue; empty: v2-small, or what the checkpoint file says of itself.',
        live=False,
    )
    checkpoint: str = _parameter(
        '', 'Path of a weight file for that model; empty: the hub cache, then a download.', live=False
    )
    accept_license: bool = _parameter(
        False, 'Agree to the licence of weights that may not be used commercially.', live=False
    )
    device: str = _parameter('auto', 'auto, cpu, cuda or cuda:N.', live=False)
    precision: str = _parameter('auto', 'What the network computes in.', choices=PRECISIONS, live=False)
    backend: str = _parameter('auto', 'What runs the network.', choices=BACKENDS, live=False)
    input_size: int = _parameter(
        518,
        'Pixels to which the shorter side is scaled for the network; a multiple of 14.',
        between=(14, 4096),
        live=False,
    )
    image_transport: str = _parameter(
        'raw', 'raw: image; compressed: image/compressed.', choices=('raw', 'compressed'), live=False
    )
    autostart: bool = _parameter(True, 'Configure and activate at the start.', live=False)
    diagnostics_period_s: float = _parameter(
        1.0,
        'Seconds between diagnostics messages.',
        name='diagnostic_updater.period',
        between=(0.1, 60.0),
        live=False,
    )
    exact_sync: bool = _parameter(
        False, 'Use only a CameraInfo with the stamp of the image; otherwise the latest serves too.'
    )
    projection: str = _parameter(
        'auto',
        'raw: the image is distorted (K, D); rectified: it is not (P); auto: by "rect" in the image topic.',
        choices=('auto', 'raw', 'rectified'),
    )
    output_size: str = _parameter(
        'input',
        "Size of the depth image: the input's, or the network's, which costs less.",
        choices=('input', 'network'),
    )
    range_min_m: float = _parameter(0.1, 'Nearer is -Inf (REP 117).', name='range.min_m', between=(0.0, 1000.0))
    range_max_m: float = _parameter(20.0, 'Farther is +Inf (REP 117).', name='range.max_m', between=(0.01, 10000.0))
    edge_threshold: float = _parameter(
        0.07,
        'Depth jump between neighbours, relative, at which both are invalid (flying pixels); 0: off.',
        name='edge.threshold',
        between=(0.0, 100.0),
    )
    points_stride: int = _parameter(
        4, 'Every n-th row and column becomes points.', name='points.stride', between=(1, 256)
    )
    points_voxel_m: float = _parameter(
        0.0, 'One point a voxel of this edge; 0: off.', name='points.voxel_m', between=(0.0, 10.0)
    )
    points_organized: bool = _parameter(
        False, 'Keep the image grid, with NaN; otherwise finite points only.', name='points.organized'
    )
    points_color: bool = _parameter(True, 'Add the field rgb.', name='points.color')
    colormap: str = _parameter('inferno', 'Colours of depth/image_color.', choices=tuple(COLORMAPS))
    alignment_source: str = _parameter(
        'none', 'Where metres come from for a relative model.', name='alignment.source', choices=SOURCES
    )
    alignment_scale: float = _parameter(
        0.0,
        'Source fixed: scale in 1/z = scale * disparity + shift, 1/m.',
        name='alignment.scale',
        between=(0.0, 1e9),
    )
    alignment_shift: float = _parameter(0.0, 'Source fixed: shift, 1/m.', name='alignment.shift', between=(-1e9, 1e9))
    alignment_max_age_s: float = _parameter(
        2.0,
        'A fit older than this is dropped, and metres stop.',
        name='alignment.max_age_s',
        between=(0.0, 1e9),
    )
    alignment_max_time_difference_s: float = _parameter(
        0.05,
        'How far apart the stamps of evidence and image may be.',
        name='alignment.max_time_difference_s',
        between=(0.0, 10.0),
    )
    alignment_min_samples: int = _parameter(
        50, 'Fewer depth samples are refused.', name='alignment.min_samples', between=(3, 1000000)
    )
    alignment_max_samples: int = _parameter(
        5000, 'More depth samples are thinned evenly.', name='alignment.max_samples', between=(3, 10000000)
    )
    alignment_min_explained: float = _parameter(
        0.3,
        'A fit that explains less of the spread of inverse depth is refused.',
        name='alignment.min_explained',
        between=(-1.0, 1.0),
    )

    @classmethod
    def declare(cls, node: Node) -> Settings:
        """Declare every parameter on the node and read them; raises SettingsError."""
        for item in fields(cls):
            node.declare_parameter(ros_name(item), item.default, _descriptor(item))
        return cls.read({ros_name(item): node.get_parameter(ros_name(item)).value for item in fields(cls)})

    @classmethod
    def read(cls, values: dict[str, Any]) -> Settings:
        """Make settings from values by ROS name; raises SettingsError for what does not go together."""
        settings = cls(**{item.name: values[ros_name(item)] for item in fields(cls)})
        settings._check()
        return settings

    def changed(self, values: dict[str, Any]) -> Settings:
        """Make the settings that result if the parameters with these ROS names change; raises SettingsError."""
        present = {ros_name(item): getattr(self, item.name) for item in fields(self)}
        return self.read(present | {name: value for name, value in values.items() if name in present})

    def _check(self) -> None:
        for item in fields(self):
            choices = item.metadata['choices']
            value = getattr(self, item.name)
            if choices and value not in choices:
                raise SettingsError(f"{ros_name(item)} is '{value}', expected one of: {', '.join(choices)}")
        if not self.range_min_m < self.range_max_m:
            raise SettingsError(
                f'range.min_m ({self.range_min_m:g}) must be less than range.max_m ({self.range_max_m:g})'
            )
        if self.points_organized and self.points_voxel_m > 0.0:
            raise SettingsError(
                'points.organized keeps the image grid, points.voxel_m gives it up: set one of them only'
            )
        finest_m = self.range_max_m * _MIN_VOXEL_OF_RANGE
        if 0.0 < self.points_voxel_m < finest_m:
            raise SettingsError(
                f'points.voxel_m is {self.points_voxel_m:g}, expected 0.0 (off) or at least {finest_m:g} m for '
                f'range.max_m = {self.range_max_m:g}'
            )
        if self.alignment_source == 'fixed' and not self.alignment_scale > 0.0:
            raise SettingsError('alignment.source fixed needs alignment.scale > 0')
        if self.alignment_min_samples > self.alignment_max_samples:
            raise SettingsError(
                f'alignment.min_samples ({self.alignment_min_samples}) must not exceed alignment.max_samples '
                f'({self.alignment_max_samples})'
            )


def ros_name(item: Field) -> str:
    """The parameter name of a field of Settings."""
    return item.metadata['name'] or item.name


def _descriptor(item: Field) -> ParameterDescriptor:
    meta = item.metadata
    descriptor = ParameterDescriptor(description=meta['description'], read_only=not meta['live'])
    if meta['choices']:
        descriptor.additional_constraints = 'One of: ' + ', '.join(meta['choices'])
    if meta['between']:
        low, high = meta['between']
        if isinstance(item.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor
