"""Rooms without their furniture: floors, ceilings, walls with doors and windows, lamps, and what is outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis import outdoor, shapes
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.sky import blackbody
from training.synthesis.textures import colour
from training.synthesis.world import Light

Rng = np.random.Generator
_THICK = 0.12


@dataclass(frozen=True)
class Opening:
    """A hole in a wall: `window`, `door` (closed), or `passage`; left, right, low and high in the wall's own metres."""

    kind: str
    left: float
    right: float
    low: float
    high: float


def random_openings(rng: Rng, length: float, height: float, windows: float, doors: float) -> list[Opening]:
    """Openings side by side along a wall, each place with a share of windows and of doors."""
    openings, x = [], rng.uniform(0.3, 0.8)
    while x < length - 1.2:
        wide = rng.uniform(0.8, 1.8)
        choice = rng.random()
        if choice < windows and x + wide < length - 0.3:
            low = rng.choice([0.05, rng.uniform(0.7, 1.0)], p=[0.2, 0.8])
            openings.append(Opening('window', x, x + wide, low, min(rng.uniform(2.0, 2.4), height - 0.2)))
        elif choice < windows + doors:
            wide = rng.uniform(0.8, 1.0)
            openings.append(Opening('passage' if rng.random() < 0.3 else 'door', x, x + wide, 0.0, 2.05))
        x += wide + rng.uniform(0.4, 1.5)
    return openings


def wall(rng: Rng, palette: Palette, length: float, height: float, openings: list[Opening], material: int,
         tint: np.ndarray, trim: np.ndarray, curtains: bool = True) -> Model:  # fmt: skip
    """A wall along x from 0 to length, its inner side at y = 0 towards -y, with what hangs on it."""
    model, x = Model(), 0.0
    for opening in [*openings, Opening('end', length, length, 0, 0)]:
        if opening.left > x:
            _block(model, material, tint, x, opening.left, 0, height)
        if opening.kind != 'end':
            _block(model, material, tint, opening.left, opening.right, opening.high, height)
            if opening.low > 0:
                _block(model, material, tint, opening.left, opening.right, 0, opening.low)
            _fill(rng, palette, model, opening, trim, curtains)
        if opening.left - x > 0.7 and rng.random() < 0.55:
            _hang(rng, palette, model, x, opening.left, height)
        if opening.left > x:  # a skirting board
            model.add(shapes.box(), palette.paint, (opening.left - x, 0.015, 0.09), ((x + opening.left) / 2, -0.007, 0),
                      tint=trim)  # fmt: skip
        x = opening.right
    return model


def _block(model: Model, material: int, tint: np.ndarray, left: float, right: float, low: float, high: float) -> None:
    at = ((left + right) / 2, _THICK / 2, low)
    model.add(shapes.box(), material, (right - left, _THICK, high - low), at, tint=tint)


def _fill(rng: Rng, palette: Palette, model: Model, opening: Opening, trim: np.ndarray, curtains: bool) -> None:
    """The frame of an opening and what is in it."""
    middle, wide, high = (opening.left + opening.right) / 2, opening.right - opening.left, opening.high - opening.low
    paint = palette.paint
    for x in (opening.left, opening.right):
        model.add(shapes.box(), paint, (0.07, _THICK + 0.04, high + 0.05), (x, _THICK / 2, opening.low), tint=trim)
    for z in (opening.low, opening.high) if opening.kind == 'window' else (opening.high,):
        model.add(shapes.box(), paint, (wide + 0.1, _THICK + 0.05, 0.06), (middle, _THICK / 2, z - 0.03), tint=trim)
    if opening.kind == 'door':
        leaf = colour(rng, (0, 0.6), (0.25, 0.97)) if rng.random() < 0.6 else np.ones(3)
        finish = paint if leaf.min() < 1 else palette.wood()
        model.add(shapes.box(), finish, (wide, 0.04, high), (middle, 0.06, 0), tint=leaf)
        for low, panel_high in ((0.15, 0.7), (1.05, 0.85)):
            at = (middle, 0.035, low)
            model.add(shapes.box(), finish, (wide * 0.7, 0.02, panel_high), at, tint=leaf * 0.85)
        model.add(shapes.rounded_box(0.5), palette.metal, (0.12, 0.05, 0.03), (opening.right - 0.12, 0.02, 1.0))
    if opening.kind == 'window':
        for part in range(1, int(rng.integers(2, 4))):
            model.add(
                shapes.box(), paint, (0.04, 0.04, high), (opening.left + part * wide / 3, 0.08, opening.low), tint=trim
            )
        if rng.random() < 0.4:
            model.add(shapes.box(), paint, (wide, 0.04, 0.04), (middle, 0.08, opening.low + 0.6 * high), tint=trim)
        if curtains and rng.random() < 0.6:
            _curtain(rng, palette, model, opening)


def _curtain(rng: Rng, palette: Palette, model: Model, opening: Opening) -> None:
    wide, top = opening.right - opening.left, opening.high + 0.12
    if rng.random() < 0.3:  # a blind
        tint = colour(rng, (0, 0.3), (0.5, 0.95))
        low = opening.high - rng.uniform(0.2, 1.0) * (opening.high - opening.low)
        for z in np.arange(low, opening.high, 0.06):
            at = ((opening.left + opening.right) / 2, 0.03, z)
            model.add(shapes.box(), palette.paint, (wide, 0.045, 0.003), at, (0, 0, 0.5), tint)
        return
    cloth, share = palette.fabric(), rng.choice([0.3, 0.3, 0.55])
    bottom = rng.choice([0.02, max(0.02, opening.low - 0.1)])
    for x in (opening.left + share * wide / 2 - 0.1, opening.right - share * wide / 2 + 0.1):
        size = (share * wide + 0.1, 1.0, top - bottom)
        model.add(shapes.cloth(rng, int(rng.integers(4, 9))), cloth, size, (x, -0.08, bottom))
    rod = np.array([[opening.left - 0.3, -0.08, top], [opening.right + 0.3, -0.08, top]])
    model.add(shapes.tube(rod, 0.012), palette.metal)


def _hang(rng: Rng, palette: Palette, model: Model, left: float, right: float, height: float) -> None:
    """Pictures, a board with things on it, a radiator, a cable duct."""
    middle, room = (left + right) / 2, right - left
    kind = rng.integers(5)
    if kind <= 2:
        wide = rng.uniform(0.3, min(1.2, room * 0.8))
        high = wide * rng.uniform(0.6, 1.4)
        z = min(rng.uniform(1.1, 1.6), height - high - 0.1)
        frame = colour(rng, (0, 0.5), (0.05, 0.95))
        model.add(shapes.box(), palette.paint, (wide + 0.06, 0.03, high + 0.06), (middle, -0.015, z - 0.03), tint=frame)
        model.add(shapes.panel(), palette.picture(), (wide, 1, high), (middle, -0.032, z), fit=True)
    elif kind == 3:
        wide = min(room * 0.8, 1.2)
        for fin in np.arange(middle - wide / 2, middle + wide / 2, 0.07):
            model.add(shapes.rounded_box(0.3), palette.paint, (0.055, 0.09, 0.6), (fin, -0.07, 0.12))
    else:
        path = [[left + 0.1, -0.015, 0.25], [left + 0.1, -0.015, height - 0.3], [right - 0.1, -0.015, height - 0.3]]
        model.add(shapes.tube(np.array(path), rng.uniform(0.008, 0.03)), palette.paint, tint=colour(rng, (0, 0.5)))


def box_room(rng: Rng, palette: Palette, width: float, depth: float, height: float, windows: tuple[float, ...],
             doors: float) -> tuple[Model, bool]:  # fmt: skip
    """Floor, ceiling and four walls of a room from (0, 0) to (width, depth).

    windows: their share on the walls at y = depth, x = width, y = 0, x = 0.

    Returns:
        The model, and whether daylight comes in.
    """
    model, material, lit = Model(), palette.wall(), False
    tint, trim = colour(rng, (0, 0.2), (0.85, 1.0)), colour(rng, (0, 0.2), (0.5, 1.0))
    model.add(shapes.sheet(), palette.floor(), (width + 0.3, depth + 0.3, 1), (width / 2, depth / 2, 0))
    ceiling = palette.wood(6) if rng.random() < 0.1 else palette.paint
    model.add(
        shapes.box(), ceiling, (width + 0.3, depth + 0.3, 0.1), (width / 2, depth / 2, height), tint=(0.95, 0.95, 0.93)
    )
    places = (((0, depth, 0), 0, width), ((width, depth, 0), -np.pi / 2, depth), ((width, 0, 0), np.pi, width),
              ((0, 0, 0), np.pi / 2, depth))  # fmt: skip
    accent = palette.wall() if rng.random() < 0.4 else material
    for index, ((at, yaw, length), share) in enumerate(zip(places, windows, strict=True)):
        openings = random_openings(rng, length, height, share, doors)
        lit |= any(opening.kind == 'window' for opening in openings)
        part = wall(rng, palette, length, height, openings, accent if index == 0 else material, tint, trim)
        model.place(part, at, yaw)
        for opening in openings:
            if opening.kind == 'passage':
                model.place(_alcove(rng, palette, opening, height), at, yaw)
    return model, lit


def _alcove(rng: Rng, palette: Palette, opening: Opening, height: float) -> Model:
    """The part of the next room that an open door shows."""
    model, deep = Model(), rng.uniform(1.5, 4.0)
    middle, tint = (opening.left + opening.right) / 2, colour(rng, (0, 0.4), (0.5, 1.0))
    for x in (-1.2, 1.2):
        model.add(shapes.box(), palette.paint, (0.1, deep, height), (middle + x, _THICK + deep / 2, 0), tint=tint)
    model.add(shapes.box(), palette.paint, (2.5, 0.1, height), (middle, _THICK + deep, 0), tint=tint)
    # Solid: under a sheet a low camera would see through between it and the room's own floor.
    model.add(shapes.box(), palette.floor(), (2.5, deep, 0.1), (middle, _THICK + deep / 2, -0.097))
    return model.add(shapes.box(), palette.paint, (2.5, deep, 0.1), (middle, _THICK + deep / 2, height - 0.2))


def outlook(rng: Rng, palette: Palette, width: float, depth: float) -> Model:
    """What windows show: ground, trees and houses around a building of that size."""
    drop = rng.choice([0.1, 0.1, 3.1, 6.1])
    model = Model().add(shapes.sheet(), palette.ground('grass'), (160, 160, 1), (width / 2, depth / 2, -drop))
    for index in range(8):
        turn = index * np.pi / 4 + rng.normal(0, 0.2)
        far = rng.uniform(12, 35) + max(width, depth) / 2
        at = (width / 2 + far * np.cos(turn), depth / 2 + far * np.sin(turn), -drop)
        if rng.random() < 0.6:
            model.place(outdoor.tree(rng, palette), at)
        else:
            model.place(outdoor.building(rng, palette, rng.uniform(8, 14), 8.0), at, turn - np.pi / 2)
    return model


def ceiling_lamps(rng: Rng, palette: Palette, model: Model, places: list[tuple[float, float]], height: float,
                  strength: float) -> list[Light]:  # fmt: skip
    """Lamps of one kind, hung at places (x, y), which light a room."""
    kelvin, kind = rng.uniform(2600, 6500), int(rng.integers(3))
    hanging = rng.uniform(0.3, 0.7) if kind == 0 else 0.02
    lights, tint = [], blackbody(kelvin) / blackbody(kelvin).max()
    for x, y in places:
        if kind == 0:
            z = height - hanging - 0.15
            model.add(shapes.cylinder(6), palette.metal, (0.012, 0.012, hanging), (x, y, height - hanging))
            model.add(shapes.ball(), palette.lamp, (0.22, 0.22, 0.22), (x, y, z - 0.05), tint=tint)
        elif kind == 1:
            z = height - 0.08
            model.add(shapes.cylinder(20), palette.lamp, (0.4, 0.4, 0.06), (x, y, z), tint=tint)
        else:
            z = height - 0.07
            model.add(shapes.box(), palette.lamp, (1.2, 0.15, 0.06), (x, y, z), tint=tint)
        lights.append(Light(np.array([x, y, z - 0.12]), blackbody(kelvin) * strength, 0.1))
    return lights
