"""What stands outside: buildings, trees, cars, people, poles, fences, each on z = 0 around the origin."""

from __future__ import annotations

import numpy as np

from training.synthesis import shapes
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.textures import colour

Rng = np.random.Generator


def building(rng: Rng, palette: Palette, width: float, depth: float) -> Model:
    """A house; its front with the door is towards -y."""
    model, wall = Model(), palette.facade()
    storeys = int(rng.integers(1, 7))
    height = 3.0 * storeys
    model.add(shapes.box(), wall, (width, depth, height))
    trim = colour(rng, (0, 0.3), (0.3, 0.95))
    if storeys < 4 and rng.random() < 0.7:
        _roof(model, palette.ground('gravel'), width + 0.6, depth + 0.6, height, rng.uniform(1.5, 3.5),
              colour(rng, (0.2, 0.7), (0.3, 0.8), (0.0, 0.08)))  # fmt: skip
        if rng.random() < 0.6:
            model.add(shapes.box(), palette.outer_wall(), (0.6, 0.6, 2.5), (0.25 * width, 0, height + 0.8))
    else:
        model.add(shapes.box(), palette.paint, (width + 0.3, depth + 0.3, 0.4), (0, 0, height), tint=trim)
    front = -depth / 2
    for _ in range(max(1, round(width / 9))):
        x = rng.uniform(-0.4, 0.4) * width
        model.add(shapes.box(), palette.paint, (1.2, 0.16, 2.3), (x, front, 0), tint=trim)
        model.add(shapes.box(), palette.wood(), (1.0, 0.2, 2.1), (x, front, 0), tint=colour(rng, (0, 0.8), (0.2, 0.9)))
        if rng.random() < 0.4:
            tint = colour(rng, (0.2, 0.9))
            model.add(shapes.box(), palette.paint, (2.5, 1.2, 0.08), (x, front - 0.6, 2.6), (0, 0, 0.15), tint)
    if rng.random() < 0.4:
        for storey in range(1, storeys):
            at = (rng.uniform(-0.3, 0.3) * width, front - 0.5, 3.0 * storey)
            model.add(shapes.box(), palette.paint, (2.6, 1.1, 0.15), at, tint=trim)
            for bar in np.linspace(-1.25, 1.25, 11):
                model.add(shapes.box(), palette.metal, (0.03, 0.03, 0.9), (at[0] + bar, front - 1.0, at[2] + 0.15))
            model.add(shapes.box(), palette.metal, (2.6, 0.05, 0.05), (at[0], front - 1.0, at[2] + 1.05))
    if rng.random() < 0.3:
        at = (rng.uniform(-0.3, 0.3) * width, front - 0.03, 2.4)
        model.add(shapes.box(), palette.picture(0.4 if palette.night else 0.0), (2.5, 0.06, 0.6), at, fit=True)
    return model


def _roof(model: Model, material: int, width: float, depth: float, z: float, high: float, tint: np.ndarray) -> None:
    x, y = width / 2, depth / 2
    vertices = np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0], [-x, 0, high], [x, 0, high]])
    faces = np.array([[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5], [0, 4, 3], [1, 2, 5], [0, 3, 2], [0, 2, 1]])
    model.add(shapes.make_shape(vertices, faces, smooth=False), material, at=(0, 0, z), tint=tint)


def tree(rng: Rng, palette: Palette) -> Model:
    """A broad tree or a fir."""
    model, height = Model(), rng.uniform(2.5, 9)
    bark = colour(rng, (0.1, 0.5), (0.15, 0.45), (0.04, 0.1))
    leaf = palette.foliage()
    if rng.random() < 0.3:
        model.add(shapes.cone(0.3, 8), palette.paint, (0.05 * height, 0.05 * height, height), tint=bark)
        turn = rng.uniform(0, 2 * np.pi, 500)
        up = rng.uniform(0.12, 1, 500)
        out = (1 - up) * 0.3 * height * rng.uniform(0.3, 1, 500) ** 0.5
        centres = np.stack([out * np.cos(turn), out * np.sin(turn), up * height - 0.2 * out], 1)
        return model.add(shapes.leaves(rng, centres, 0.05 * height + 0.1, 0.03 * height), leaf)
    trunk = height * rng.uniform(0.25, 0.45)
    bend = np.cumsum(rng.normal(0, 0.06, (5, 2)), 0)
    path = np.concatenate([bend, np.linspace(-0.1, trunk * 1.3, 5)[:, None]], 1)
    model.add(shapes.tube(path, np.linspace(0.035, 0.02, 5) * height, 8), palette.paint, tint=bark)
    clumps = []
    for _ in range(int(rng.integers(5, 10))):
        end = rng.normal(0, 0.13 * height, 3) * [1, 1, 0.7] + [0, 0, 0.68 * height]
        branch = np.stack([path[3], (path[3] + end) / 2 + rng.normal(0, 0.1, 3), end])
        model.add(shapes.tube(branch, [0.015 * height, 0.01 * height, 0.004 * height], 5), palette.paint, tint=bark)
        clumps.append(end + rng.normal(0, 0.075 * height, (110, 3)))
    if rng.random() < 0.85:  # else a bare one
        model.add(shapes.leaves(rng, np.concatenate(clumps), 0.028 * height + 0.06, 0.018 * height + 0.04), leaf)
    return model


def bush(rng: Rng, palette: Palette) -> Model:
    """A bush."""
    size = rng.uniform(0.5, 1.8) * rng.uniform(0.7, 1.2, 3)
    leaf = palette.foliage()
    model = Model().add(shapes.blob(rng, 0.5), leaf, size * 0.85, tint=(0.6, 0.6, 0.6))
    around = rng.normal(size=(260, 3))
    around = around / np.linalg.norm(around, axis=1, keepdims=True) * size / 2 * rng.uniform(0.8, 1.0, (260, 1))
    around[:, 2] += size[2] / 2
    return model.add(shapes.leaves(rng, around, 0.1, 0.05), leaf)


def car(rng: Rng, palette: Palette) -> Model:
    """A car, van or lorry along x."""
    if (thing := palette.thing('vehicle', 0.5)) is not None:
        low, high = thing.bounds()
        return thing if high[0] - low[0] > high[1] - low[1] else Model().place(thing, yaw=np.pi / 2)
    model, tint = Model(), colour(rng, (0, 0.85), (0.1, 0.95))
    van = rng.random() < 0.25
    length, width = rng.uniform(3.6, 4.8) + van * rng.uniform(0.3, 2), rng.uniform(1.65, 1.9) + 0.2 * van
    body, roof = rng.uniform(0.75, 0.95), rng.uniform(1.4, 1.7)
    glass = (0.04, 0.05, 0.06)
    if van:
        roof = rng.uniform(1.9, 2.6)
        outline = [(-0.5, 0.3), (-0.5, roof), (0.25, roof), (0.38, 1.1), (0.5, 1.0), (0.5, 0.3)]
        cabin = [(0.1, 1.1), (0.1, roof - 0.25), (0.24, roof - 0.2), (0.345, 1.15)]
    else:
        back = rng.choice([-0.48, -0.40])
        outline = [(-0.5, 0.28), (-0.5, body), (0.5, body * 0.88), (0.5, 0.28)]
        cabin = [(back, body), (back + 0.1, roof), (0.08, roof), (0.25, body * 0.95)]
        model.add(_extruded(cabin, 0.97), palette.plastic, (length, width * 0.86, 1), tint=tint)
        cabin = [(x * 0.93, 0.06 + z * 0.94) for x, z in cabin]
    model.add(_extruded(outline, 1.0), palette.plastic, (length, width, 1), tint=tint)
    model.add(_extruded(cabin, 1.0), palette.plastic, (length, width * (1.006 if van else 0.87), 1), tint=glass)
    if not van:  # front and rear windows, a little wider than the cabin's slopes
        model.add(
            _extruded([(x * 1.035, z - 0.03) for x, z in cabin], 1.0),
            palette.plastic,
            (length, width * 0.72, 1),
            tint=glass,
        )
    for x in (-0.31, 0.31):
        for side in (-1, 1):
            at = (x * length, side * (width / 2 - 0.02), 0.32)
            left = side > 0
            tyre, hub = (at[0], at[1] - 0.1 * left, at[2]), (at[0], at[1] - (0.11 if left else 0.1), at[2])
            turn, rubber = (0, 0, -np.pi / 2), (0.03, 0.03, 0.03)
            model.add(shapes.cylinder(18), palette.paint, (0.64, 0.64, 0.2), tyre, turn, rubber)
            model.add(shapes.cylinder(14), palette.metal, (0.36, 0.36, 0.22), hub, turn)
    for side in (-1, 1):
        at = (length / 2 - 0.04, side * 0.36 * width, 0.62)
        model.add(shapes.rounded_box(0.4), palette.lamp if palette.night else palette.metal, (0.1, 0.3, 0.14), at)
        at = (-length / 2 + 0.03, side * 0.38 * width, 0.65)
        model.add(shapes.rounded_box(0.4), palette.plastic, (0.08, 0.25, 0.16), at, tint=(0.7, 0.03, 0.03))
    return model


def _extruded(outline: list[tuple[float, float]], taper: float) -> shapes.Shape:
    """A convex outline in x, z, made 1 wide along y."""
    count, points = len(outline), np.asarray(outline, float)
    sides = [np.stack([points[:, 0] * taper, np.full(count, y), points[:, 1]], 1) for y in (-0.5, 0.5)]
    fan = np.array([[0, k, k + 1] for k in range(1, count - 1)])
    ring = np.array([[k, (k + 1) % count, (k + 1) % count + count, k + count] for k in range(count)])
    faces = np.concatenate([fan, fan[:, ::-1] + count, ring[:, [0, 1, 2]], ring[:, [0, 2, 3]]])
    return shapes.make_shape(np.concatenate(sides), faces, smooth=False)


def person(rng: Rng, palette: Palette) -> Model:
    """A standing or walking figure, facing x."""
    if (thing := palette.thing('person', 0.7)) is not None:
        return Model().place(thing, yaw=np.pi / 2)
    model, height = Model(), rng.uniform(1.5, 1.9)
    scale = height / 1.75
    skin = colour(rng, (0.3, 0.6), (0.3, 0.9), (0.04, 0.08))
    trousers, shirt = colour(rng, (0, 0.6), (0.05, 0.6)), colour(rng, (0, 0.9), (0.1, 0.95))
    cloth, stride, swing = palette.paint, rng.uniform(0, 0.45), rng.uniform(0, 0.5)

    def limb(points, radii, tint):
        model.add(shapes.tube(np.array(points) * scale, np.array(radii) * scale, 8), cloth, tint=tint)

    for side in (-1, 1):
        foot, knee = side * stride, 0.45 * side * stride + 0.06
        limb(
            [[0, side * 0.09, 0.92], [knee, side * 0.1, 0.5], [foot * 0.8, side * 0.1, 0.04]],
            [0.09, 0.07, 0.05],
            trousers,
        )
        model.add(
            shapes.rounded_box(0.4),
            cloth,
            np.array([0.27, 0.1, 0.1]) * scale,
            np.array([foot * 0.8 + 0.06, side * 0.1, 0]) * scale,
            tint=(0.06, 0.05, 0.05),
        )
        hand = -side * swing * 0.6
        limb(
            [[0, side * 0.2, 1.42], [hand * 0.4 - 0.03, side * 0.26, 1.13], [hand + 0.05, side * 0.25, 0.88]],
            [0.06, 0.05, 0.035],
            shirt,
        )
        model.add(
            shapes.ball(),
            cloth,
            np.full(3, 0.09) * scale,
            np.array([hand + 0.06, side * 0.25, 0.78]) * scale,
            tint=skin,
        )
    model.add(
        shapes.rounded_box(0.6), cloth, np.array([0.25, 0.44, 0.62]) * scale, np.array([0, 0, 0.87]) * scale, tint=shirt
    )
    model.add(
        shapes.cylinder(8), cloth, np.array([0.11, 0.11, 0.14]) * scale, np.array([0, 0, 1.43]) * scale, tint=skin
    )
    model.add(shapes.ball(), cloth, np.array([0.19, 0.16, 0.24]) * scale, np.array([0, 0, 1.51]) * scale, tint=skin)
    return model.add(
        shapes.ball(),
        cloth,
        np.array([0.2, 0.17, 0.19]) * scale,
        np.array([-0.015, 0, 1.575]) * scale,
        tint=colour(rng, (0.1, 0.6), (0.03, 0.4), (0.03, 0.12)),
    )


def street_lamp(rng: Rng, palette: Palette) -> Model:
    """A tall pole with an arm towards -y."""
    model, height, tint = Model(), rng.uniform(4, 7), np.full(3, rng.uniform(0.15, 0.6))
    model.add(shapes.cone(0.6, 10), palette.paint, (0.16, 0.16, height), tint=tint)
    model.add(
        shapes.tube(np.array([[0, 0, height - 0.02], [0, -0.5, height + 0.25], [0, -1.2, height + 0.3]]), 0.035),
        palette.paint,
        tint=tint,
    )
    return model.add(
        shapes.rounded_box(0.4),
        palette.lamp if palette.night else palette.paint,
        (0.22, 0.5, 0.12),
        (0, -1.3, height + 0.2),
    )


def sign(rng: Rng, palette: Palette) -> Model:
    """A road sign on a thin pole."""
    model, height = Model(), rng.uniform(1.8, 2.6)
    model.add(shapes.cylinder(8), palette.metal, (0.06, 0.06, height + 0.3))
    if rng.random() < 0.5:
        return model.add(
            shapes.cylinder(24), palette.picture(), (0.6, 0.6, 0.02), (-0.05, 0, height), (0, -np.pi / 2, 0), fit=True
        )
    return model.add(shapes.box(), palette.picture(), (0.02, 0.6, 0.45), (-0.05, 0, height - 0.2), fit=True)


def fence(rng: Rng, palette: Palette, length: float) -> Model:
    """A fence of pales, wires or boards, or a wall, along x."""
    model, height, kind = Model(), rng.uniform(0.8, 1.8), int(rng.integers(4))
    tint = colour(rng, (0, 0.5), (0.2, 0.95))
    if kind == 0:
        return model.add(shapes.box(), palette.outer_wall(), (length, 0.25, height))
    if kind == 1:
        return model.add(shapes.box(), palette.wood(6), (length, 0.04, height))
    for x in np.arange(-length / 2, length / 2, 2.0):
        model.add(shapes.box(), palette.paint, (0.09, 0.09, height), (x, 0, 0), tint=tint)
    rails = (0.25, 0.8) if kind == 2 else np.linspace(0.15, 1, 6)
    for rail in rails:
        thick = 0.06 if kind == 2 else 0.012
        model.add(shapes.box(), palette.paint, (length, thick / 2, thick), (0, 0, rail * height - thick), tint=tint)
    if kind == 2:
        for x in np.arange(-length / 2, length / 2, 0.16):
            model.add(shapes.box(), palette.paint, (0.08, 0.02, height * 0.95), (x, -0.035, 0.05), tint=tint)
    return model


def bin_(rng: Rng, palette: Palette) -> Model:
    """A waste bin on wheels."""
    tint = colour(rng, (0.3, 0.9), (0.15, 0.6))
    model = Model().add(shapes.cone(1.15, 4), palette.plastic, (0.7, 0.7, 0.95), turn=(np.pi / 4, 0, 0), tint=tint)
    return model.add(shapes.rounded_box(0.2), palette.plastic, (0.62, 0.62, 0.1), (0, 0, 0.95), tint=tint * 0.8)


def bench(rng: Rng, palette: Palette) -> Model:
    """A park bench, or what else stands outside, its back towards +y."""
    if (thing := palette.thing('outdoor', 0.6)) is not None:
        return thing
    model, length, wood = Model(), rng.uniform(1.2, 2.0), palette.wood()
    for slat in range(4):
        model.add(shapes.box(), wood, (length, 0.08, 0.03), (0, -0.2 + 0.11 * slat, 0.45))
        if slat < 3:
            model.add(
                shapes.box(), wood, (length, 0.03, 0.08), (0, 0.22 + 0.02 * slat, 0.55 + 0.12 * slat), (0, 0, -0.15)
            )
    for x in (-0.4, 0.4):
        model.add(shapes.box(), palette.metal, (0.05, 0.4, 0.45), (x * length, 0, 0), tint=(0.3, 0.3, 0.3))
        model.add(shapes.box(), palette.metal, (0.05, 0.04, 0.9), (x * length, 0.25, 0), (0, 0, -0.12), (0.3, 0.3, 0.3))
    return model
