"""A scene: what is in it, what lights it, and from where it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.synthesis.materials import Palette
from training.synthesis.mesh import Model

Box = tuple[Sequence[float], Sequence[float]]  # the lowest and the highest x, y, z


@dataclass(frozen=True)
class Light:
    """A lamp, or (sun) a light at infinity.

    Attributes:
        place: (3,) metres; of a sun the unit vector towards it.
        colour: (3,) linear RGB: radiant intensity; of a sun irradiance.
        radius: metres, for the softness of its shadows; of a sun the tangent of its angular radius.
    """

    place: np.ndarray
    colour: np.ndarray
    radius: float = 0.1
    sun: bool = False


@dataclass(frozen=True)
class Sky:
    """What is beyond everything.

    Attributes:
        zenith, horizon: (3,) linear RGB.
        clouds: share of the sky that they cover.
        sun: (3,) unit vector, or None if it does not show.
        seed: of the clouds' place.
    """

    zenith: np.ndarray
    horizon: np.ndarray
    clouds: float
    sun: np.ndarray | None
    seed: int


@dataclass
class Scene:
    """A world to be looked at.

    Attributes:
        kind: room, corridor, street, yard or tabletop.
        model: all that is in it.
        palette: its materials.
        lights: lamps and sun.
        sky: None where no ray is meant to leave.
        ambient: (2, 3) linear RGB: light from above and from below that no single light accounts for.
        eyes: boxes in which the camera may be.
        targets: boxes at some point of which it looks.
        clearance: metres that a camera keeps from what is in front of it.
        reach: metres within which neighbours take ambient light from each other.
        visibility: metres after which haze has taken 63 % of the contrast; +Inf for none.
    """

    kind: str
    model: Model
    palette: Palette
    lights: list[Light]
    sky: Sky | None
    ambient: np.ndarray
    eyes: list[Box]
    targets: list[Box]
    clearance: float = 0.3
    reach: float = 0.8
    visibility: float = float('inf')
    flags: dict[str, bool] = field(default_factory=dict)
