"""The built-in sources of metres."""

from collections.abc import Mapping
from types import MappingProxyType

from depth_anything_ros.alignment.hook import AlignmentSource
from depth_anything_ros.alignment.sources.camera import CameraSource
from depth_anything_ros.alignment.sources.constant import FixedSource, NoSource
from depth_anything_ros.alignment.sources.depth import DepthSource
from depth_anything_ros.alignment.sources.ground import GroundSource
from depth_anything_ros.alignment.sources.points import PointsSource
from depth_anything_ros.alignment.sources.range import RangeSource
from depth_anything_ros.alignment.sources.scan import ScanSource

BUILT_IN: Mapping[str, type[AlignmentSource]] = MappingProxyType(
    {
        'none': NoSource,
        'fixed': FixedSource,
        'depth': DepthSource,
        'points': PointsSource,
        'scan': ScanSource,
        'range': RangeSource,
        'ground': GroundSource,
        'camera': CameraSource,
    }
)
"""By the name that alignment.source calls them by."""
