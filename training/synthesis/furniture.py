"""Furniture, each piece standing on z = 0 around the origin, with its back towards +y."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.synthesis import shapes
from training.synthesis.clutter import small_object
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.textures import colour

Rng = np.random.Generator


def surface(rng: Rng, palette: Palette) -> tuple[int, np.ndarray]:
    """A material and tint for furniture: wood, paint or metal."""
    choice = rng.random()
    if choice < 0.55:
        return palette.wood(), np.ones(3)
    return (palette.paint if choice < 0.9 else palette.metal), colour(rng, (0.0, 0.6), (0.05, 0.95))


def _legs(rng: Rng, model: Model, finish: tuple[int, np.ndarray], width: float, depth: float, height: float) -> None:
    thick, slant = rng.uniform(0.025, 0.07), rng.choice([0.0, rng.uniform(0.02, 0.15)])
    shape = shapes.cylinder(8) if rng.random() < 0.5 else shapes.box()
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (width / 2 - thick), y * (depth / 2 - thick), 0)
            model.add(shape, finish[0], (thick, thick, height), at, (0, -x * slant, y * slant), finish[1])


def table(rng: Rng, palette: Palette, cluttered: bool = True) -> Model:
    """A table, desk or low table, with things on it."""
    model, (material, tint) = Model(), surface(rng, palette)
    height = rng.choice([rng.uniform(0.35, 0.5), rng.uniform(0.68, 0.78), rng.uniform(0.68, 0.78)])
    width, depth, thick = rng.uniform(0.7, 1.8), rng.uniform(0.5, 0.9), rng.uniform(0.02, 0.05)
    if rng.random() < 0.25:
        depth = width
        model.add(shapes.cylinder(28), material, (width, width, thick), (0, 0, height - thick), tint=tint)
        model.add(shapes.cylinder(12), material, (0.08, 0.08, height), tint=tint)
        model.add(shapes.cone(0.2), material, (width / 2, width / 2, 0.06), tint=tint)
        width = depth = width * 0.7
    else:
        model.add(shapes.box(), material, (width, depth, thick), (0, 0, height - thick), tint=tint)
        _legs(rng, model, (material, tint), width, depth, height - thick)
    if cluttered:
        for _ in range(int(rng.integers(0, 9))):
            at = (rng.uniform(-0.4, 0.4) * width, rng.uniform(-0.35, 0.35) * depth, height)
            model.place(small_object(rng, palette), at, rng.uniform(0, 6.3))
        if rng.random() < 0.4:
            model.place(screen(rng, palette), (0, 0.2 * depth, height), rng.normal(0, 0.2))
    return model


def screen(rng: Rng, palette: Palette) -> Model:
    """A monitor or a television on its foot."""
    model, width = Model(), rng.uniform(0.4, 1.0)
    high = width * 0.58
    black = np.full(3, rng.uniform(0.02, 0.15))
    model.add(shapes.box(), palette.plastic, (0.25, 0.18, 0.02), tint=black)
    model.add(shapes.box(), palette.plastic, (0.05, 0.03, 0.15), tint=black)
    model.add(shapes.box(), palette.plastic, (width, 0.03, high), (0, 0, 0.1), tint=black)
    lit = palette.picture(1.2) if rng.random() < 0.5 else None
    tint = np.ones(3) if lit else black
    area = (width - 0.03, 1, high - 0.03)
    return model.add(shapes.panel(), lit or palette.plastic, area, (0, -0.0165, 0.115), tint=tint, fit=True)


def chair(rng: Rng, palette: Palette) -> Model:
    """A chair with four legs, or an office chair."""
    model, (material, tint) = Model(), surface(rng, palette)
    width, height, back = rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.48), rng.uniform(0.35, 0.55)
    seat, seat_tint = (palette.fabric(), np.ones(3)) if rng.random() < 0.5 else (material, tint)
    lean = rng.uniform(0.05, 0.2)
    if rng.random() < 0.25:
        model.add(shapes.cylinder(10), palette.metal, (0.06, 0.06, height))
        for spoke in range(5):
            turn = spoke * 2 * np.pi / 5
            at = 0.15 * np.array([np.cos(turn), np.sin(turn), 0])
            model.add(shapes.box(), palette.plastic, (0.3, 0.04, 0.05), at, (turn, 0, 0), (0.08, 0.08, 0.08))
        model.add(shapes.rounded_box(0.4), seat, (width, width, 0.09), (0, 0, height - 0.03), tint=seat_tint)
        at = (0, width / 2, height + 0.12)
        return model.add(shapes.rounded_box(0.4), seat, (width, 0.08, back), at, (0, 0, -lean), seat_tint)
    _legs(rng, model, (material, tint), width, width, height)
    model.add(shapes.box(), seat, (width, width, 0.035), (0, 0, height), tint=seat_tint)
    if rng.random() < 0.85:
        for x in (-1, 1):
            at = (x * (width / 2 - 0.02), width / 2 - 0.02, height)
            model.add(shapes.box(), material, (0.035, 0.035, back), at, (0, 0, -lean), tint)
        slats = int(rng.integers(1, 5))
        for slat in range(slats):
            up = back * (0.35 + 0.6 * slat / max(slats, 2))
            at = (0, width / 2 - 0.02 + up * np.tan(lean), height + up)
            size = (width - 0.04, 0.02, 0.5 * back / slats)
            model.add(shapes.box(), material, size, at, (0, 0, -lean), tint)
    return model


def sofa(rng: Rng, palette: Palette) -> Model:
    """A sofa or armchair with cushions."""
    model, cloth, seats = Model(), palette.fabric(), int(rng.integers(1, 4))
    width, depth = 0.65 * seats + 0.3, rng.uniform(0.75, 0.95)
    tint, soft = colour(rng, (0, 0.3), (0.5, 1.0)), shapes.rounded_box(float(rng.choice([0.15, 0.3])))
    model.add(soft, cloth, (width, depth, 0.3), (0, 0, 0.08), tint=tint)
    model.add(soft, cloth, (width, 0.22, rng.uniform(0.65, 0.9)), (0, depth / 2 - 0.1, 0.05), (0, 0, -0.1), tint)
    for x in (-1, 1):
        model.add(soft, cloth, (0.18, depth, 0.58), (x * (width / 2 - 0.08), 0, 0.05), tint=tint)
    for seat in range(seats):
        x = (seat - (seats - 1) / 2) * 0.63
        model.add(shapes.rounded_box(0.4), cloth, (0.64, depth - 0.2, 0.18), (x, -0.08, 0.33), tint=tint)
        if rng.random() < 0.5:
            at = (x, 0.12, 0.48)
            model.add(
                shapes.rounded_box(0.5),
                palette.fabric(),
                (0.42, 0.14, 0.4),
                at,
                (rng.normal(0, 0.2), rng.normal(0, 0.2), -0.35),
            )
    return model


def bed(rng: Rng, palette: Palette) -> Model:
    """A bed with pillows and a blanket."""
    model, (material, tint) = Model(), surface(rng, palette)
    width, height = rng.choice([0.9, 1.4, 1.8]), rng.uniform(0.25, 0.4)
    model.add(shapes.box(), material, (width + 0.06, 2.06, height), tint=tint)
    model.add(shapes.box(), material, (width + 0.06, 0.06, height + rng.uniform(0.3, 0.7)), (0, 1.03, 0), tint=tint)
    soft = shapes.rounded_box(0.15)
    model.add(soft, palette.fabric(), (width, 2.0, 0.25), (0, 0, height - 0.05))
    model.add(soft, palette.fabric(), (width + 0.12, 1.4, 0.22), (0, -0.3, height + 0.05))
    pillow = palette.fabric()
    for x in (-0.25, 0.25) if width > 1 else (0,):
        at = (x * width, 0.75, height + 0.12)
        model.add(shapes.rounded_box(0.5), pillow, (min(0.6, 0.8 * width), 0.4, 0.16), at, (rng.normal(0, 0.1), 0, 0.2))
    return model


def shelf(rng: Rng, palette: Palette) -> Model:
    """An open shelf with books, boxes and other things."""
    model, (material, tint) = Model(), surface(rng, palette)
    width, depth, height = rng.uniform(0.6, 1.4), rng.uniform(0.25, 0.4), rng.uniform(0.8, 2.1)
    boards, thick = int(rng.integers(2, 6)), rng.uniform(0.015, 0.03)
    for x in (-1, 1):
        model.add(shapes.box(), material, (thick, depth, height), (x * (width - thick) / 2, 0, 0), tint=tint)
    if rng.random() < 0.7:
        model.add(shapes.box(), material, (width, 0.01, height), (0, depth / 2 - 0.005, 0), tint=tint * 0.9)
    for board in range(boards + 1):
        z = 0.05 + board * (height - 0.05 - thick) / boards
        model.add(shapes.box(), material, (width - 2 * thick, depth - 0.012, thick), (0, -0.006, z), tint=tint)
        room = (height - 0.05) / boards - thick
        if board < boards and rng.random() < 0.85:
            _fill(rng, palette, model, width - 2 * thick, depth, z + thick, room)
    return model


def _fill(rng: Rng, palette: Palette, model: Model, width: float, depth: float, z: float, room: float) -> None:
    x, end = -width / 2 + 0.02, width / 2 - 0.05
    if rng.random() < 0.6:
        while x < end - 0.06 and rng.random() < 0.97:
            thick, high = rng.uniform(0.012, 0.05), min(rng.uniform(0.17, 0.3), room * 0.95)
            deep = min(depth * 0.85, rng.uniform(0.12, 0.22))
            at, tint = (x + thick / 2, rng.uniform(-0.02, 0.0), z), colour(rng, (0.1, 0.9), (0.1, 0.9))
            lean = 0.25 if rng.random() < 0.04 else 0
            model.add(shapes.box(), palette.paint, (thick, deep, high), at, (0, lean, 0), tint)
            x += thick + 0.002 + lean * high
        return
    while x < end - 0.1:
        thing = small_object(rng, palette)
        low, high = thing.bounds()
        scale = min(1.0, room * 0.9 / high[2], 0.8 * depth / max(high[1] - low[1], 1e-3))
        half = scale * (high[0] - low[0]) / 2
        if x + 2 * half > end:
            return
        model.place(thing, (x + half, 0, z), scale=scale)
        x += 2 * half + rng.uniform(0.01, 0.2)


def cabinet(rng: Rng, palette: Palette) -> Model:
    """A cupboard, wardrobe, fridge or chest of drawers."""
    model, (material, tint) = Model(), surface(rng, palette)
    width, depth = rng.uniform(0.5, 1.6), rng.uniform(0.4, 0.65)
    height = rng.choice([rng.uniform(0.5, 1.0), rng.uniform(1.6, 2.2)])
    model.add(shapes.box(), material, (width, depth, height), tint=tint)
    columns, rows = (max(1, round(width / 0.5)), 1 if height > 1.2 else int(rng.integers(1, 4)))
    front = tint * rng.uniform(0.8, 1.1)
    for column in range(columns):
        for row in range(rows):
            wide, high = width / columns, height / rows
            at = ((column + 0.5) * wide - width / 2, -depth / 2, row * high + 0.012)
            model.add(shapes.box(), material, (wide - 0.02, 0.03, high - 0.024), at, tint=front)
            grip = (at[0] + 0.35 * wide, -depth / 2 - 0.03, at[2] + 0.45 * high)
            model.add(shapes.cylinder(8), palette.metal, (0.02, 0.02, min(0.12, 0.3 * high)), grip)
    if height < 1.2:
        for _ in range(int(rng.integers(0, 5))):
            at = (rng.uniform(-0.4, 0.4) * width, rng.uniform(-0.3, 0.3) * depth, height)
            model.place(small_object(rng, palette), at, rng.uniform(0, 6.3))
    return model


def floor_lamp(rng: Rng, palette: Palette) -> Model:
    """A lamp on a thin pole."""
    model, height = Model(), rng.uniform(1.2, 1.8)
    model.add(shapes.cylinder(), palette.metal, (0.28, 0.28, 0.02))
    model.add(shapes.cylinder(8), palette.metal, (0.022, 0.022, height))
    tint = colour(rng, (0.05, 0.4), (0.6, 1.0))
    return model.add(
        shapes.cone(rng.uniform(0.3, 1.0), 20), palette.lamp, (0.36, 0.36, 0.26), (0, 0, height), tint=tint
    )


def plant(rng: Rng, palette: Palette) -> Model:
    """A potted plant."""
    model, size = Model(), rng.uniform(0.4, 1.5)
    pot = colour(rng, (0.0, 0.6), (0.3, 0.9), (0.0, 0.12))
    model.add(shapes.lathe(((0, 0), (0.35, 0), (0.5, 1), (0.42, 1), (0.4, 0.9), (0, 0.9))), palette.paint,
              (0.3 * size**0.5, 0.3 * size**0.5, 0.28 * size**0.5), tint=pot)  # fmt: skip
    base, centres = 0.25 * size**0.5, []
    for _ in range(int(rng.integers(5, 14))):
        turn, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.45) * size
        steps = np.linspace(0, 1, 6)[:, None]
        path = np.concatenate([out * steps**1.5 * np.cos(turn), out * steps**1.5 * np.sin(turn),
                               base + size * rng.uniform(0.5, 1) * steps * (1 - 0.3 * steps)], 1)  # fmt: skip
        model.add(shapes.tube(path, 0.004 + 0.004 * size, 4), palette.foliage())
        centres.append(path[2:] + rng.normal(0, 0.03 * size, (4, 3)))
    centres = np.concatenate([np.concatenate(centres), np.concatenate(centres) + rng.normal(0, 0.05 * size, (1, 3))])
    return model.add(shapes.leaves(rng, centres, 0.11 * size**0.7, 0.04 * size**0.7), palette.foliage())


FLOOR_PIECES = (cabinet, chair, floor_lamp, plant, shelf, sofa, table)


def piece(rng: Rng, palette: Palette, makers: Sequence[Callable[[Rng, Palette], Model]] = FLOOR_PIECES) -> Model:
    """A piece of furniture: one of the user's libraries, or of these makers."""
    if (thing := palette.thing('floor', 0.65)) is not None:
        return thing
    return makers[int(rng.integers(len(makers)))](rng, palette)
