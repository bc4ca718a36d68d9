"""Tables from above, full of small things."""

from __future__ import annotations

import numpy as np

from training.synthesis import clutter, furniture, interior, shapes
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.sky import blackbody
from training.synthesis.world import Light, Scene


def tabletop(rng: np.random.Generator, palette: Palette) -> Scene:
    """A table, bench or work surface in a room, looked at from above at an angle."""
    width, depth, height = rng.uniform(3, 6), rng.uniform(3, 6), rng.uniform(2.4, 3.0)
    model, _ = interior.box_room(rng, palette, width, depth, height, (0.0, 0.0, 0.0, 0.0), 0.3)
    long, deep, top = rng.uniform(0.7, 1.6), rng.uniform(0.5, 0.9), rng.uniform(0.7, 0.9)
    middle = np.array([width / 2, depth / 2, 0])
    finish, tint = furniture.surface(rng, palette)
    if rng.random() < 0.3:
        finish, tint = palette.floor(), np.ones(3)
    desk = Model().add(shapes.box(), finish, (long, deep, 0.04), (0, 0, top - 0.04), tint=tint)
    for x in (-0.45, 0.45):
        desk.add(shapes.box(), palette.paint, (0.06, deep * 0.9, top - 0.04), (x * long, 0, 0), tint=(0.4, 0.4, 0.4))
    if rng.random() < 0.3:
        size = (long * rng.uniform(0.3, 0.8), deep * rng.uniform(0.4, 0.9), 0.004)
        desk.add(shapes.box(), palette.fabric(), size, (0, 0, top), (rng.normal(0, 0.2), 0, 0))
    _scatter(rng, palette, desk, long, deep, top)
    model.place(desk, middle)
    for _ in range(4):  # the rest of the room, blurred by nothing but distance
        turn = rng.uniform(0, 2 * np.pi)
        at = middle + np.array([0.45 * width * np.cos(turn), 0.45 * depth * np.sin(turn), 0])
        model.place(furniture.piece(rng, palette), at, turn - np.pi / 2)
    strength = rng.uniform(2.0, 6.0)
    spot = (width / 2 + rng.normal(0, 0.5), depth / 2 + rng.normal(0, 0.5))
    lights = interior.ceiling_lamps(rng, palette, model, [spot], height, strength)
    if rng.random() < 0.6:  # light from one side, as of a window or a desk lamp
        turn = rng.uniform(0, 2 * np.pi)
        place = middle + np.array([1.3 * np.cos(turn), 1.3 * np.sin(turn), top + rng.uniform(0.4, 1.2)])
        lights.append(Light(place, blackbody(rng.uniform(2800, 7500)) * rng.uniform(0.7, 3), rng.uniform(0.05, 0.4)))
    tone = blackbody(rng.uniform(3000, 7000)) * rng.uniform(0.1, 0.4)
    eyes = _ring(middle, long, deep, top)
    half = np.array([0.32 * long, 0.3 * deep, 0.0])
    aims = (middle - half + [0, 0, top], middle + half + [0, 0, top + 0.1])
    return Scene('tabletop', model, palette, lights, None, np.stack([tone, tone * 0.7]), eyes, [aims], 0.2, 0.25)


def _ring(middle: np.ndarray, long: float, deep: float, top: float) -> list:
    """Boxes on the four sides of the table, 0.15 to 0.8 m above it."""
    boxes = []
    for side in range(4):
        turn = side * np.pi / 2
        along = np.array([np.cos(turn), np.sin(turn)])
        reach = (long if side % 2 == 0 else deep) / 2
        near, far = middle[:2] + along * (reach - 0.1), middle[:2] + along * (reach + 0.45)
        across = 0.3 * np.abs(along[::-1])
        low, high = np.minimum(near, far) - across, np.maximum(near, far) + across
        boxes.append(([*low, top + 0.15], [*high, top + 0.8]))
    return boxes


def _scatter(rng: np.random.Generator, palette: Palette, desk: Model, long: float, deep: float, top: float) -> None:
    """Things that stand side by side, not in each other."""
    taken: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(5, 24))):
        thing = clutter.small_object(rng, palette)
        low, high = thing.bounds()
        radius = float(np.hypot(*(high - low)[:2])) / 2
        for _ in range(12):
            x, y = rng.uniform(-0.48, 0.48) * long, rng.uniform(-0.48, 0.48) * deep
            if all(np.hypot(x - a, y - b) > 0.85 * (radius + r) for a, b, r in taken):
                taken.append((x, y, radius))
                desk.place(thing, (x, y, top), rng.uniform(0, 2 * np.pi))
                break
