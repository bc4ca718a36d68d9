"""The painted world, for the tests of this folder."""

import painted_world
import pytest


@pytest.fixture
def world():
    """All of it."""

    class World:
        sample, Reading = staticmethod(painted_world.painted), painted_world.Reading
        Metric, Listed = painted_world.Metric, painted_world.Listed
        scale, shift = painted_world.SCALE, painted_world.SHIFT

    return World
