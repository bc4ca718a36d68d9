"""The variables by which Fast DDS is told of a profile."""

from __future__ import annotations

import os

_OLD, _NEW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
_OLD_DISTROS = ('humble', 'iron', 'jazzy')

PROFILE_VARIABLES = (_NEW, _OLD)


def profile_variable() -> str:
    """The one that the Fast DDS of this ROS reads."""
    # Fast DDS 2 does not know the name of 3, and where both are known rmw_fastrtps warns of the old one.
    return _OLD if os.environ.get('ROS_DISTRO') in _OLD_DISTROS else _NEW
