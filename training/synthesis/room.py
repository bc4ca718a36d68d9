"""Rooms with furniture, and corridors."""

from __future__ import annotations

import numpy as np

from training.synthesis import clutter, furniture, interior, shapes
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.sky import blackbody, daylight
from training.synthesis.world import Light, Scene

Rng = np.random.Generator
_TRIES = 30


def _light(rng: Rng, palette: Palette, model: Model, spots: list[tuple[float, float]], height: float, windows: bool,
           size: tuple[float, float]) -> tuple[list[Light], object, np.ndarray]:  # fmt: skip
    """Lamps, sky and ambient light of an inner space."""
    lamps = interior.ceiling_lamps(rng, palette, model, spots, height, rng.uniform(2.0, 7.0))
    sky, sun, _ = daylight(rng, night=palette.night)
    bright = 0.0 if palette.night else 1.0
    if windows:
        model.place(interior.outlook(rng, palette, *size))
        # By day the lamps may be off.
        if bright and rng.random() < 0.5:
            lamps = []
    lights = [*lamps, *([sun] if sun is not None and windows else [])]
    tone = blackbody(rng.uniform(3000, 7000)) * (0.15 + (0.35 * bright if windows else 0.0))
    ambient = np.stack([tone * 0.8, tone * rng.uniform(0.6, 0.9) * [1.0, 0.93, 0.85]])
    return lights, sky, ambient


def room(rng: Rng, palette: Palette) -> Scene:
    """A living room, bedroom, office or store room."""
    width, depth, height = rng.uniform(2.8, 8.0), rng.uniform(2.8, 7.0), rng.uniform(2.3, 3.2)
    shares = tuple(rng.permutation([0.75, 0.4, 0.0, 0.0]))
    model, windows = interior.box_room(rng, palette, width, depth, height, shares, 0.35)
    _furnish(rng, palette, model, width, depth)
    spots = [(width / 2, depth / 2)] if width < 5 else [(width * 0.28, depth / 2), (width * 0.72, depth / 2)]
    lights, sky, ambient = _light(rng, palette, model, spots, height, windows, (width, depth))
    inside = ([0.35, 0.35, 0.1], [width - 0.35, depth - 0.35, 2.0])
    aims = ([0.0, 0.0, 0.0], [width, depth, min(1.9, height)])
    return Scene('room', model, palette, lights, sky, ambient, [inside], [aims], clearance=0.3)


def _furnish(rng: Rng, palette: Palette, model: Model, width: float, depth: float) -> None:
    taken: list[tuple[float, float, float, float]] = []
    crowded = rng.uniform(0.6, 1.7)
    if rng.random() < 0.5:  # a carpet
        size = (rng.uniform(1.2, 2.5), rng.uniform(1.0, 2.0), 0.012)
        at = (width * rng.uniform(0.35, 0.65), depth * rng.uniform(0.35, 0.65), 0)
        model.add(shapes.box(), palette.fabric(), size, at, (rng.normal(0, 0.2), 0, 0))
    along = [furniture.shelf, furniture.cabinet, furniture.sofa, furniture.bed, furniture.table, furniture.plant,
             furniture.shelf, furniture.floor_lamp]  # fmt: skip
    for _ in range(int(crowded * (width + depth) * 0.75)):
        _against_wall(rng, furniture.piece(rng, palette, along), model, taken, width, depth)
        if (thing := palette.thing('mounted', 0.25)) is not None:
            _against_wall(rng, thing, model, taken, width, depth)
    for _ in range(int(crowded * width * depth / 7)):
        if rng.random() < 0.6:
            _table_with_chairs(rng, palette, model, taken, width, depth)
        else:
            _anywhere(rng, furniture.piece(rng, palette), model, taken, width, depth)
    if (person := palette.thing('person', 0.3)) is not None:
        _anywhere(rng, person, model, taken, width, depth)
    for _ in range(int(crowded * rng.integers(2, 9))):
        thing = clutter.carton(rng, palette) if rng.random() < 0.45 else clutter.small_object(rng, palette)
        _anywhere(rng, thing, model, taken, width, depth)


def _free(taken: list[tuple[float, float, float, float]], area: tuple[float, float, float, float]) -> bool:
    left, right, low, high = area
    return all(left > other[1] or right < other[0] or low > other[3] or high < other[2] for other in taken)


def _put(model: Model, piece: Model, taken: list[tuple[float, float, float, float]], at: tuple[float, float],
         yaw: float, limits: tuple[float, float]) -> bool:  # fmt: skip
    placed = Model().place(piece, (*at, 0.0), yaw)
    low, high = placed.bounds()
    area = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    if low[0] < 0.01 or low[1] < 0.01 or high[0] > limits[0] - 0.01 or high[1] > limits[1] - 0.01:
        return False
    if not _free(taken, area):
        return False
    taken.append(area)
    model.place(placed)
    return True


def _against_wall(rng: Rng, piece: Model, model: Model, taken: list, width: float, depth: float) -> None:
    back = float(piece.bounds()[1][1]) + 0.03
    for _ in range(_TRIES // 3):
        side = int(rng.integers(4))
        x, y = rng.uniform(0.3, width - 0.3), rng.uniform(0.3, depth - 0.3)
        at = ((x, depth - back), (width - back, y), (x, back), (back, y))[side]
        if _put(model, piece, taken, at, -side * np.pi / 2, (width, depth)):
            return


def _anywhere(rng: Rng, piece: Model, model: Model, taken: list, width: float, depth: float) -> None:
    for _ in range(_TRIES // 3):
        at = (rng.uniform(0.2, width - 0.2), rng.uniform(0.2, depth - 0.2))
        if _put(model, piece, taken, at, rng.uniform(0, 2 * np.pi), (width, depth)):
            return


def _table_with_chairs(rng: Rng, palette: Palette, model: Model, taken: list, width: float, depth: float) -> None:
    group, chair = Model(), furniture.chair(rng, palette)
    group.place(furniture.table(rng, palette))
    low, high = group.bounds()
    for side in range(4):
        if rng.random() < 0.7:
            reach = (high[1], -low[0], -low[1], high[0])[side] + rng.uniform(-0.1, 0.25)
            turn = side * np.pi / 2
            at = (-np.sin(turn) * reach, np.cos(turn) * reach, 0)
            group.place(chair, at, turn + rng.normal(0, 0.25))
    _anywhere(rng, group, model, taken, width, depth)


def corridor(rng: Rng, palette: Palette) -> Scene:
    """A long, narrow space with doors, lamps in a row, and things along its walls."""
    length, width, height = rng.uniform(8, 30), rng.uniform(1.3, 3.0), rng.uniform(2.2, 3.2)
    shares = (rng.choice([0.0, 0.0, 0.4]), 0.3, 0.0, 0.0)
    model, windows = interior.box_room(rng, palette, length, width, height, shares, 0.75)
    taken: list[tuple[float, float, float, float]] = []
    makers = (furniture.shelf, furniture.cabinet, furniture.plant, furniture.chair, clutter.carton, clutter.carton)
    for _ in range(int(length * rng.uniform(0.1, 0.8))):
        piece = furniture.piece(rng, palette, makers)
        low, high = piece.bounds()
        if high[1] - low[1] < width - 0.8:
            _against_wall(rng, piece, model, taken, length, width)
    if (person := palette.thing('person', 0.5)) is not None:
        _anywhere(rng, person, model, taken, length, width)
    for y in rng.uniform(0.1, width - 0.1, int(rng.integers(0, 4))):  # pipes and cables under the ceiling
        pipe = np.array([[0, y, height - 0.12], [length, y, height - 0.12]])
        model.add(shapes.tube(pipe, rng.uniform(0.01, 0.06), 8), palette.paint, tint=rng.uniform(0.3, 0.9, 3))
    spots = [(x, width / 2) for x in np.linspace(0, length, max(2, int(length / 4)) + 1)[1:-1]]
    lights, sky, ambient = _light(rng, palette, model, spots, height, windows, (length, width))
    # A few lamps light the whole: more would cost a shadow ray each.
    if len(lights) > 4:
        lights = [lights[k] for k in np.linspace(0, len(lights) - 1, 4).astype(int)]
    inside = ([0.3, 0.3, 0.1], [length - 0.3, width - 0.3, min(1.9, height - 0.3)])
    ends = [([x, 0.2 * width, 0.3], [x, 0.8 * width, 1.7]) for x in (0.0, length)]
    along = ([0.0, 0.0, 0.0], [length, width, 1.8])
    return Scene('corridor', model, palette, lights, sky, ambient, [inside], [*ends, *ends, along], clearance=0.35)
