"""The node's parameters: declared from one table, validated together, read as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name

from depth_anything_ros.alignment import (
    MIN_SAMPLES,
    AlignerSettings,
    AlignmentSource,
    UnknownSourceError,
    make_source,
    parameters_of,
    source_types,
)
from depth_anything_ros.choices import BACKENDS, PRECISIONS
from depth_anything_ros.geometry import COLORMAPS
from depth_anything_ros.geometry.transforms import FixedTransforms
from depth_anything_ros.node.inputs import MessageTypeError, message_type
from depth_anything_ros.node.parameters import Declaration, SettingsError

# Finer than any camera sees, and a grid of such voxels cannot be numbered.
_MIN_VOXEL_OF_RANGE = 1 / 20_000
_POSE_LENGTH = 7
_LIMITS = AlignerSettings()


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
    """Every parameter of the node, by attribute; the ROS name, range and meaning are each field's metadata.

    source_parameters: those of all alignment sources, by ROS name. source: the chosen one, made of its own.
    """

    model: str = _parameter(
        '',
        'Name of the network in the catalogue; empty: tiny, or what the checkpoint file says of itself.',
        live=False,
    )
    checkpoint: str = _parameter(
        '',
        'Path of a weight file for that model; empty: the packaged one, or the hub cache, then a download.',
        live=False,
    )
    accept_license: bool = _parameter(
        False, 'Agree to the licence of weights that may not be used commercially.', live=False
    )
    device: str = _parameter('auto', 'auto, cpu, cuda, cuda:N, openvino:GPU or openvino:NPU.', live=False)
    precision: str = _parameter('auto', 'What the network computes in.', choices=PRECISIONS, live=False)
    backend: str = _parameter('auto', 'What runs the network.', choices=BACKENDS, live=False)
    input_size: int = _parameter(
        0,
        "Pixels to which the shorter side is scaled for the network, a multiple of 14 (tiny: 32); 0: the model's own.",
        between=(0, 4096),
        live=False,
    )
    cameras: tuple[str, ...] = _parameter(
        ('',),
        'Names of the cameras, each of which comes before the names of its topics; empty: one camera without a name.',
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
    stabilizer_time_constant_s: float = _parameter(
        _LIMITS.stabilizer_s,
        "Seconds over which the model's drift from frame to frame is let through, flicker removed; 0: off.",
        name='stabilizer.time_constant_s',
        between=(0.0, 1000.0),
    )
    points_stride: int = _parameter(
        4, 'Every n-th row and column becomes points.', name='points.stride', between=(1, 256)
    )
    points_voxel_m: float = _parameter(
        0.0, 'One point a voxel of this edge; 0: off.', name='points.voxel_m', between=(0.0, 10.0)
    )
    points_max_relative_sigma: float = _parameter(
        0.0,
        'Points whose depth is less certain, as standard deviation over depth, are left out; 0: off.',
        name='points.max_relative_sigma',
        between=(0.0, 100.0),
    )
    points_organized: bool = _parameter(
        False, 'Keep the image grid, with NaN; otherwise finite points only.', name='points.organized'
    )
    points_color: bool = _parameter(True, 'Add the field rgb.', name='points.color')
    colormap: str = _parameter('inferno', 'Colours of depth/image_color.', choices=tuple(COLORMAPS))
    alignment_source: str = _parameter('none', 'Where metres come from.', name='alignment.source')
    alignment_max_age_s: float = _parameter(
        _LIMITS.max_age_s,
        'An alignment without evidence for longer is dropped, and metres stop.',
        name='alignment.max_age_s',
        between=(0.0, 1e9),
    )
    alignment_max_time_difference_s: float = _parameter(
        _LIMITS.max_time_difference_s,
        'How far apart the stamps of evidence and image may be.',
        name='alignment.max_time_difference_s',
        between=(0.0, 10.0),
    )
    alignment_min_samples: int = _parameter(
        _LIMITS.min_samples, 'Fewer samples are refused.', name='alignment.min_samples', between=(MIN_SAMPLES, 1000000)
    )
    alignment_min_explained: float = _parameter(
        _LIMITS.min_explained,
        'A fit that explains less of the spread of inverse depth is refused.',
        name='alignment.min_explained',
        between=(-1.0, 1.0),
    )
    alignment_max_scale_sigma: float = _parameter(
        _LIMITS.max_scale_sigma,
        'A fit that leaves the scale less certain, relative, is refused.',
        name='alignment.max_scale_sigma',
        between=(0.0, 1e9),
    )
    alignment_field_order: int = _parameter(
        _LIMITS.field_order,
        'Scale over the image: 0: one number; 1 or 2: a polynomial of this order, where evidence covers the image.',
        name='alignment.field_order',
        between=(0, 2),
    )
    alignment_drift: float = _parameter(
        _LIMITS.drift,
        'How much the scale may wander within a second, relative; larger follows faster and smooths less.',
        name='alignment.drift',
        between=(0.0, 100.0),
    )
    alignment_correct_metric_model: bool = _parameter(
        _LIMITS.correct_metric_model,
        'Align a metric model too, rather than believe it.',
        name='alignment.correct_metric_model',
    )
    alignment_extrinsics: tuple[float, ...] = _parameter(
        (0.0,) * _POSE_LENGTH,
        "Pose of the evidence's frame in the camera's optical frame, x y z in metres and quaternion x y z w; all "
        'zeros: from TF.',
        name='alignment.extrinsics',
    )
    alignment_fixed_frame: str = _parameter(
        '',
        'Frame that does not move in the world, such as odom: carries evidence from its stamp to that of the image; '
        'empty: none.',
        name='alignment.fixed_frame',
    )
    source_parameters: Mapping[str, Any] = field(default_factory=dict)
    source: AlignmentSource = field(default_factory=lambda: make_source('none'))

    @classmethod
    def declare(cls, node: Node) -> Settings:
        """Declare every parameter on the node and read them; raises SettingsError."""
        values = {}
        for item in declarations():
            default = list(item.default) if isinstance(item.default, tuple) else item.default
            value = node.declare_parameter(item.name, default, item.descriptor()).value
            # An empty array has no type, and rclpy takes it for none at all.
            values[item.name] = () if value is None else value
        return cls.read(values)

    @classmethod
    def read(cls, values: Mapping[str, Any], before: Settings | None = None) -> Settings:
        """Make settings from values by ROS name; raises SettingsError for what does not go together.

        before: the settings so far, whose source is kept if nothing of it changes.
        """
        values = {name: _plain(value) for name, value in values.items()}
        for item in declarations():
            if item.name in values:
                item.check(values[item.name])
        own = {item.name: values.pop(ros_name(item)) for item in _table()}
        settings = cls(**own, source_parameters=values)
        settings._check()
        unchanged = before is not None and before._source_key() == settings._source_key()
        return replace(settings, source=before.source if unchanged else settings._make_source())

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """Make the settings that result if the parameters with these ROS names change; raises SettingsError."""
        present = {ros_name(item): getattr(self, item.name) for item in _table()} | dict(self.source_parameters)
        return self.read(present | {name: value for name, value in values.items() if name in present}, self)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras; the only one may have an empty name."""
        return self.cameras or ('',)

    @property
    def aligner_settings(self) -> AlignerSettings:
        """What of the alignment may change without starting it anew."""
        return AlignerSettings(
            max_age_s=self.alignment_max_age_s,
            max_time_difference_s=self.alignment_max_time_difference_s,
            min_samples=self.alignment_min_samples,
            min_explained=self.alignment_min_explained,
            max_scale_sigma=self.alignment_max_scale_sigma,
            field_order=self.alignment_field_order,
            drift=self.alignment_drift,
            stabilizer_s=self.stabilizer_time_constant_s,
            correct_metric_model=self.alignment_correct_metric_model,
        )

    @cached_property
    def fixed_transforms(self) -> FixedTransforms | None:
        """The pose that takes the place of TF, None if there is none; raises SettingsError."""
        pose = self.alignment_extrinsics
        if len(pose) != _POSE_LENGTH:
            raise SettingsError(
                f'alignment.extrinsics has {len(pose)} numbers, expected {_POSE_LENGTH}: x y z qx qy qz qw'
            )
        try:
            return FixedTransforms(pose) if any(pose) else None
        except ValueError as error:
            raise SettingsError(f'alignment.extrinsics: {error}') from error

    def _source_key(self) -> tuple[str, Mapping[str, Any]]:
        prefix = f'alignment.{self.alignment_source}.'
        own = {name: value for name, value in self.source_parameters.items() if name.startswith(prefix)}
        return self.alignment_source, own

    def _make_source(self) -> AlignmentSource:
        name, values = self._source_key()
        prefix = f'alignment.{name}.'
        try:
            if name in source_types():
                _source_declarations(name)
            source = make_source(name, {key.removeprefix(prefix): value for key, value in values.items()})
            for topic, kind in source.topics.items():
                validate_topic_name(topic)
                message_type(kind)
        except UnknownSourceError as error:
            raise SettingsError(f'alignment.source: {error}') from error
        except MessageTypeError as error:
            raise SettingsError(f"alignment.source is '{name}', and {error}") from error
        except ValueError as error:
            raise SettingsError(f'alignment.{name}: {error}') from error
        except Exception as error:  # a foreign source's fault must not end the node
            raise SettingsError(f"alignment.source '{name}' cannot be made: {type(error).__name__}: {error}") from error
        return source

    def _check(self) -> None:
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
        most = f'alignment.{self.alignment_source}.max_samples'
        if self.alignment_min_samples > self.source_parameters.get(most, self.alignment_min_samples):
            raise SettingsError(
                f'alignment.min_samples ({self.alignment_min_samples}) must not exceed {most} '
                f'({self.source_parameters[most]})'
            )
        self._check_cameras()
        # Which is checked by being made.
        if self.fixed_transforms is not None and self.alignment_fixed_frame:
            raise SettingsError(
                'alignment.fixed_frame takes the motion between evidence and image from TF, in whose place '
                'alignment.extrinsics is a pose that never changes: set one of them only'
            )
        if self.fixed_transforms is not None and len(self.camera_names) > 1:
            raise SettingsError(
                f'alignment.extrinsics is one pose, which would be that of each of the {len(self.camera_names)} '
                'cameras: publish theirs on /tf or /tf_static'
            )

    def _check_cameras(self) -> None:
        names = self.camera_names
        for name in names:
            if names != ('',) and not (name.isascii() and name.isidentifier()):
                raise SettingsError(
                    f"cameras has '{name}', expected a name of letters, digits and underscores that does not begin "
                    'with a digit'
                )
            if names.count(name) > 1:
                raise SettingsError(f"cameras has '{name}' twice, expected a name for each camera")


def declarations() -> tuple[Declaration, ...]:
    """Every parameter of the node: the table of Settings, then alignment.<source>.<field> of each source."""
    own = []
    for item in _table():
        meta = dict(item.metadata)
        meta.pop('name')
        if item.name == 'alignment_source':
            meta['description'] += ' One of: ' + ', '.join(source_types())
        own.append(Declaration(ros_name(item), item.default, **meta))
    for name in source_types():
        try:
            own.extend(_source_declarations(name))
        except TypeError:  # said when the source is chosen
            continue
    return tuple(own)


def ros_name(item: Field) -> str:
    """The parameter name of a field of Settings."""
    return item.metadata['name'] or item.name


def _table() -> tuple[Field, ...]:
    return tuple(item for item in fields(Settings) if item.metadata)


def _source_declarations(name: str) -> tuple[Declaration, ...]:
    return tuple(Declaration.of_source(name, item) for item in parameters_of(source_types()[name]))


def _plain(value: Any) -> Any:
    """Arrays, of whatever kind rclpy holds them, as tuples."""
    return value if isinstance(value, (bool, int, float, str)) else tuple(value)
