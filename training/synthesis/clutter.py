"""Small things, each standing on z = 0 around the origin, in metres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.synthesis import shapes
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.textures import colour

Rng = np.random.Generator


def _finish(rng: Rng, palette: Palette) -> int:
    return int(rng.choice([palette.paint, palette.plastic, palette.plastic, palette.metal]))


def mug(rng: Rng, palette: Palette) -> Model:
    """A mug with its handle, open at the top."""
    model, tint, material = Model(), colour(rng, (0, 0.8), (0.2, 0.97)), _finish(rng, palette)
    wide, high = rng.uniform(0.07, 0.1), rng.uniform(0.07, 0.12)
    profile = ((0, 0), (0.45, 0), (0.5, 0.1), (0.5, 1), (0.44, 1), (0.44, 0.1), (0, 0.08))
    model.add(shapes.lathe(profile), material, (wide, wide, high), tint=tint)
    turn = np.linspace(-1.4, 1.4, 8)
    handle = np.stack([wide * 0.45 + 0.3 * high * np.cos(turn), 0 * turn, 0.5 * high + 0.33 * high * np.sin(turn)], 1)
    return model.add(shapes.tube(handle, 0.006), material, tint=tint)


def bottle(rng: Rng, palette: Palette) -> Model:
    """A bottle, jar or vase: a lathe shape of random profile, perhaps with a label."""
    model, tint = Model(), colour(rng, (0.1, 0.9), (0.1, 0.9))
    neck, shoulder = rng.uniform(0.12, 0.4), rng.uniform(0.45, 0.8)
    belly = rng.uniform(0.35, 0.5)
    profile = ((0, 0), (0.44, 0), (0.5, 0.04), (belly, shoulder * 0.5), (0.48, shoulder), (neck, shoulder + 0.12),
               (neck, 0.94), (neck + 0.04, 0.95), (neck + 0.04, 1), (0, 1))  # fmt: skip
    wide, high = rng.uniform(0.05, 0.12), rng.uniform(0.12, 0.34)
    profile = tuple((round(radius, 3), round(height, 3)) for radius, height in profile)
    return model.add(shapes.lathe(profile), _finish(rng, palette), (wide, wide, high), tint=tint)


def can(rng: Rng, palette: Palette) -> Model:
    """A tin or tub with a printed side."""
    wide, high = rng.uniform(0.06, 0.12), rng.uniform(0.05, 0.16)
    model = Model().add(shapes.cylinder(20), palette.picture(), (wide, wide, high), fit=True)
    return model.add(shapes.cylinder(20), palette.metal, (wide * 1.02, wide * 1.02, 0.006), (0, 0, high))


def bowl(rng: Rng, palette: Palette) -> Model:
    """A bowl or plate, perhaps with fruit."""
    wide, high = rng.uniform(0.12, 0.3), rng.uniform(0.02, 0.1)
    profile = ((0, 0), (0.25, 0), (0.4, 0.35), (0.5, 1), (0.47, 1), (0.37, 0.45), (0.2, 0.15), (0, 0.15))
    model = Model().add(
        shapes.lathe(profile, 24), _finish(rng, palette), (wide, wide, high), tint=colour(rng, (0, 0.4))
    )
    if rng.random() < 0.5:
        hue = rng.choice([0.0, 0.08, 0.15, 0.3])
        for _ in range(int(rng.integers(1, 6))):
            size, place = rng.uniform(0.05, 0.08), rng.normal(0, 0.13 * wide, 2)
            tint = colour(rng, (0.6, 0.95), (0.5, 0.95), (hue, hue + 0.06))
            model.add(shapes.ball(), palette.plastic, (size, size, size), (*place, 0.2 * high), tint=tint)
    return model


def book(rng: Rng, palette: Palette) -> Model:
    """A stack of lying books or papers."""
    model, z = Model(), 0.0
    for _ in range(int(rng.integers(1, 5))):
        wide, deep, thick = rng.uniform(0.12, 0.22), rng.uniform(0.18, 0.3), rng.uniform(0.008, 0.04)
        turn, tint = rng.normal(0, 0.25), colour(rng, (0.1, 0.8), (0.15, 0.9))
        model.add(shapes.box(), palette.paint, (wide, deep, thick * 0.8), (0, 0, z + 0.1 * thick), (turn, 0, 0),
                  (0.9, 0.88, 0.8))  # fmt: skip
        for cover in (0, 0.9):
            model.add(shapes.box(), palette.paint, (wide + 0.008, deep + 0.008, 0.1 * thick), (0, 0, z + cover * thick),
                      (turn, 0, 0), tint)  # fmt: skip
        z += thick
    if rng.random() < 0.4:
        model.add(shapes.sheet(), palette.picture(), (wide, deep, 1), (0, 0, z + 0.001), (turn, 0, 0), fit=True)
    return model


def package(rng: Rng, palette: Palette) -> Model:
    """A printed box: cereals, medicine, toys."""
    size = rng.uniform((0.05, 0.03, 0.06), (0.2, 0.12, 0.3))
    return Model().add(shapes.box(), palette.picture(), size, fit=True)


def carton(rng: Rng, palette: Palette) -> Model:
    """A cardboard box, closed or with its flaps open, or a plastic crate."""
    size = rng.uniform((0.2, 0.2, 0.15), (0.6, 0.5, 0.5))
    tint = colour(rng, (0.3, 0.5), (0.45, 0.75), (0.06, 0.1)) if rng.random() < 0.7 else colour(rng)
    model = Model()
    if rng.random() < 0.5:
        model.add(shapes.box(), palette.paint, size, tint=tint)
        return model.add(shapes.sheet(), palette.paint, (size[0], 0.05, 1), (0, 0, size[2] + 1e-3), tint=tint * 1.2)
    wall = 0.008
    model.add(shapes.box(), palette.paint, (size[0], size[1], wall), tint=tint * 0.8)
    for side in (-1, 1):
        model.add(shapes.box(), palette.paint, (wall, size[1], size[2]), (side * size[0] / 2, 0, 0), tint=tint)
        model.add(shapes.box(), palette.paint, (size[0], wall, size[2]), (0, side * size[1] / 2, 0), tint=tint)
        flap = (0, side * rng.uniform(0.3, 2.2), 0)
        model.add(
            shapes.box(),
            palette.paint,
            (wall, size[1], size[0] * 0.45),
            (side * size[0] / 2, 0, size[2]),
            flap,
            tint * 1.1,
        )
    return model


def tool(rng: Rng, palette: Palette) -> Model:
    """A lying screwdriver, hammer, pen or spoon."""
    model, length, tint = Model(), rng.uniform(0.12, 0.3), colour(rng, (0.5, 0.95), (0.3, 0.9))
    grip, thick = length * rng.uniform(0.35, 0.6), rng.uniform(0.008, 0.03)
    lying = (0, np.pi / 2, 0)
    model.add(shapes.lathe(((0, 0), (0.45, 0), (0.5, 0.3), (0.4, 0.8), (0, 1)), 12), palette.plastic,
              (thick, thick, grip), (0, 0, thick / 2), lying, tint)  # fmt: skip
    model.add(shapes.cylinder(8), palette.metal, (thick / 3, thick / 3, length - grip), (grip, 0, thick / 2), lying)
    if rng.random() < 0.4:
        model.add(shapes.rounded_box(0.2), palette.metal, (0.03, 0.1, 0.03), (length, 0, 0))
    return model


def cable(rng: Rng, palette: Palette) -> Model:
    """A lying cable."""
    steps = rng.normal(0, 0.5, 24).cumsum() * 0.5
    path = np.stack([np.cos(steps), np.sin(steps), 0 * steps], 1).cumsum(0) * rng.uniform(0.02, 0.06)
    low, high = path.min(0), path.max(0)
    path = (path - (low + high) / 2) * min(1.0, rng.uniform(0.2, 0.45) / (high - low).max())
    path[:, 2] = 0.005
    return Model().add(
        shapes.tube(path, rng.uniform(0.002, 0.006), 5), palette.plastic, tint=colour(rng, (0, 0.6), (0.05, 0.9))
    )


def toy(rng: Rng, palette: Palette) -> Model:
    """Something of superquadrics."""
    model, z = Model(), 0.0
    for _ in range(int(rng.integers(1, 4))):
        east, north = (float(value) for value in rng.choice([0.2, 0.5, 1.0, 1.6], 2))
        size = rng.uniform(0.04, 0.14, 3)
        material = _finish(rng, palette) if rng.random() < 0.7 else palette.fabric()
        model.add(shapes.superquadric(east, north), material, size, (0, 0, z), (rng.uniform(0, 6), 0, 0),
                  colour(rng, (0.2, 0.9), (0.2, 0.95)))  # fmt: skip
        z += size[2] * 0.9
    return model


def stone(rng: Rng, palette: Palette) -> Model:
    """A lump: a stone, a potato, a crumpled bag."""
    size = rng.uniform(0.04, 0.15) * rng.uniform(0.7, 1.3, 3)
    return Model().add(shapes.blob(rng, 0.5), palette.paint, size, tint=colour(rng, (0, 0.5), (0.3, 0.9)))


def desk_lamp(rng: Rng, palette: Palette) -> Model:
    """A lamp with a thin bent arm."""
    model, tint = Model(), colour(rng, (0, 0.8), (0.05, 0.9))
    model.add(shapes.cylinder(), palette.plastic, (0.16, 0.16, 0.02), tint=tint)
    reach, high = rng.uniform(0.1, 0.25), rng.uniform(0.25, 0.45)
    path = np.array([[0, 0, 0.01], [-0.3 * reach, 0, high * 0.6], [reach * 0.6, 0, high]])
    model.add(shapes.tube(path, 0.007), palette.plastic, tint=tint)
    return model.add(shapes.cone(0.4), palette.plastic, (0.15, 0.15, 0.12), (reach * 0.6, 0, high - 0.06), tint=tint)


def laptop(rng: Rng, palette: Palette) -> Model:
    """An open laptop."""
    wide, deep, grey = rng.uniform(0.28, 0.38), rng.uniform(0.2, 0.26), np.full(3, rng.uniform(0.1, 0.8))
    model = Model().add(shapes.box(), palette.plastic, (wide, deep, 0.018), tint=grey)
    model.add(shapes.sheet(), palette.paint, (wide * 0.9, deep * 0.5, 1), (0, 0.03, 0.0185), tint=(0.05, 0.05, 0.05))
    lean = (0, 0, -rng.uniform(0.1, 0.5))
    model.add(shapes.box(), palette.plastic, (wide, 0.01, deep), (0, deep / 2, 0.018), lean, grey)
    lit = palette.picture(1.5)
    return model.add(shapes.panel(), lit, (wide * 0.94, 1, deep * 0.9), (0, deep / 2 - 0.006, 0.03), lean, fit=True)


_COMMON = (
    mug,
    bottle,
    bottle,
    can,
    bowl,
    book,
    book,
    package,
    package,
    tool,
    toy,
    toy,
    stone,
    cable,
    laptop,
    desk_lamp,
)


def small_object(rng: Rng, palette: Palette) -> Model:
    """Any small thing."""
    if (thing := palette.thing('small', 0.5)) is not None:
        return thing
    make: Callable[[Rng, Palette], Model] = _COMMON[int(rng.integers(len(_COMMON)))]
    return make(rng, palette)
