"""Streets and yards."""

from __future__ import annotations

import numpy as np

from training.synthesis import clutter, furniture, outdoor, shapes
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.sky import blackbody, daylight
from training.synthesis.world import Light, Scene

Rng = np.random.Generator
_FAR = 90.0


def _relief(rng: Rng, palette: Palette, flat: float) -> Model:
    """Ground out to 250 m: level within `flat` metres of the x axis, hilly beyond."""
    near = np.linspace(-60, 60, 49)
    xs = np.concatenate([np.linspace(-250, -70, 10), near, np.linspace(70, 250, 10)])
    x, y = np.meshgrid(xs, xs, indexing='ij')
    waves = rng.normal(0, [[0.02], [0.06], [0.15]], (3, 2))
    relief = sum(np.sin(x * a + y * b + rng.uniform(0, 6)) for a, b in waves)
    away = np.clip((np.abs(y) - flat) / 25, 0, 1)
    heights = relief * away * rng.uniform(0.1, 1.5) + 8 * np.clip((np.hypot(x, y) - 110) / 140, 0, 1) * (1 + relief)
    return Model().add(
        shapes.terrain(heights - 0.06 - 0.3 * away, xs, xs), palette.ground(str(rng.choice(['grass', 'grass', 'soil'])))
    )


def _hedge_of_trees(rng: Rng, palette: Palette, model: Model) -> None:
    """A ring of trees far away that closes the view."""
    kinds = [outdoor.tree(rng, palette) for _ in range(3)]
    for turn in np.arange(0, 2 * np.pi, 0.17):
        if rng.random() < 0.75:
            far, kind = rng.uniform(75, 120), kinds[int(rng.integers(3))]
            model.place(kind, (far * np.cos(turn), far * np.sin(turn), -1), rng.uniform(0, 6), rng.uniform(0.9, 1.8))


def _light(rng: Rng, palette: Palette, lamps: list[np.ndarray]) -> tuple:
    sky, sun, ambient = daylight(rng, night=palette.night)
    lights = [sun] if sun is not None else []
    if palette.night:
        tone = blackbody(rng.uniform(2200, 5000))
        lights += [Light(place, tone * rng.uniform(4, 10), 0.15) for place in lamps[:4]]
    visibility = float(np.exp(rng.uniform(np.log(60), np.log(2500)))) if rng.random() < 0.5 else np.inf
    return sky, lights, ambient, visibility


def street(rng: Rng, palette: Palette) -> Scene:
    """A road along x with pavements, houses, cars, trees, lamps and people."""
    road, walk = rng.uniform(5.0, 9.0), rng.uniform(1.5, 4.0)
    edge = road / 2 + walk
    model = _relief(rng, palette, edge + 6)
    model.add(shapes.sheet(), palette.ground('asphalt'), (2.6 * _FAR, road, 1), (0, 0, 0))
    paving, dash = palette.ground('paving'), rng.random() < 0.7
    for side in (-1, 1):
        model.add(shapes.box(), paving, (2.6 * _FAR, walk, 0.25), (0, side * (road + walk) / 2, -0.12))
        model.add(
            shapes.box(), palette.paint, (2.6 * _FAR, 0.15, 0.26), (0, side * road / 2, -0.12), tint=(0.6, 0.6, 0.58)
        )
        if rng.random() < 0.5:
            model.add(shapes.box(), palette.paint, (2.6 * _FAR, 0.12, 0.02), (0, side * (road / 2 - 0.4), -0.015))
    for x in np.arange(-_FAR, _FAR, 6.0) if dash else ():
        model.add(shapes.box(), palette.paint, (3.0, 0.14, 0.02), (x, 0, -0.015))
    _houses(rng, palette, model, edge)
    _traffic(rng, palette, model, road)
    lamps = _along_the_walk(rng, palette, model, road, walk)
    if rng.random() < 0.4:
        _hedge_of_trees(rng, palette, model)
    sky, lights, ambient, visibility = _light(rng, palette, lamps)
    # On the road or on a pavement, looking along it more often than across.
    eyes = [([-12, -edge + 0.4, 0.2], [12, edge - 0.4, 2.0])]
    ends = [([x, -edge, 0.0], [x, edge, 3.0]) for x in (-45, 45)]
    sides = [([-20, side * (edge + 2), 0.2], [20, side * (edge + 2), 3.0]) for side in (-1, 1)]
    return Scene('street', model, palette, lights, sky, ambient, eyes, [*ends, *ends, *sides], 0.7, 2.0, visibility)


def _houses(rng: Rng, palette: Palette, model: Model, edge: float) -> None:
    dense = rng.uniform(0.4, 1.0)
    for side in (-1, 1):
        x = -_FAR
        while x < _FAR:
            width, depth, back = rng.uniform(7, 20), rng.uniform(7, 12), rng.choice([0.1, rng.uniform(1, 6)])
            if rng.random() < dense:
                house = outdoor.building(rng, palette, width, depth)
                model.place(house, (x + width / 2, side * (edge + back + depth / 2 + 0.6), 0), np.pi if side < 0 else 0)
                if back > 1 and rng.random() < 0.7:
                    fence = outdoor.fence(rng, palette, width)
                    model.place(fence, (x + width / 2, side * (edge + 0.15), 0), np.pi if side < 0 else 0)
            else:
                for _ in range(3):
                    at = (x + rng.uniform(0, width), side * (edge + rng.uniform(1, 9)), -0.1)
                    model.place((outdoor.tree if rng.random() < 0.6 else outdoor.bush)(rng, palette), at)
            x += width + rng.choice([0.0, rng.uniform(0.5, 6)])


def _traffic(rng: Rng, palette: Palette, model: Model, road: float) -> None:
    for side in (-1, 1):
        parked = rng.random() < 0.6
        for x in np.arange(-40, 40, 6.3):
            if parked and rng.random() < 0.5:
                at = (x + rng.uniform(-0.4, 0.4), side * (road / 2 - 1.15), 0)
                model.place(outdoor.car(rng, palette), at, (np.pi if side > 0 else 0) + rng.normal(0, 0.02))
    for _ in range(int(rng.integers(0, 4))):
        side = rng.choice([-1, 1])
        at = (side * rng.uniform(14, 60), rng.choice([-1, 1]) * 0.2 * road, 0)
        model.place(outdoor.car(rng, palette), at, np.pi if at[1] > 0 else 0)


def _along_the_walk(rng: Rng, palette: Palette, model: Model, road: float, walk: float) -> list[np.ndarray]:
    """Lamps, trees, signs, bins, benches, people; returns where the nearest lamps shine."""
    lamp, tree = outdoor.street_lamp(rng, palette), outdoor.tree(rng, palette)
    top = float(lamp.bounds()[1][2])
    step, lamps, planted = rng.uniform(14, 28), [], rng.random() < 0.5
    kinds = (outdoor.sign, outdoor.bin_, outdoor.bench, outdoor.person, outdoor.person, outdoor.bush, clutter.carton)
    for side in (-1, 1):
        curb, yaw = side * (road / 2 + 0.4), 0.0 if side > 0 else np.pi
        for x in np.arange(-60, 60, step) + rng.uniform(0, step):
            model.place(lamp, (x, curb, 0.13), yaw)
            lamps.append(np.array([x, curb - side * 1.3, top - 0.2]))
            if planted:
                model.place(tree, (x + step / 2, curb + side * 0.3, 0.1), rng.uniform(0, 6), rng.uniform(0.8, 1.2))
        for _ in range(int(rng.integers(3, 14))):
            at = (rng.uniform(-25, 25), side * (road / 2 + rng.uniform(0.6, walk - 0.2)), 0.13)
            model.place(kinds[int(rng.integers(len(kinds)))](rng, palette), at, rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.4:  # wires from lamp to lamp
        x = np.linspace(-60, 60, 60)
        for offset in (0.0, 0.4):
            wire = np.stack([x, np.full(60, road / 2 + 0.4), top + offset - 0.4 * np.abs(np.sin(x * np.pi / step))], 1)
            model.add(shapes.tube(wire, 0.012, 4), palette.paint, tint=(0.05, 0.05, 0.05))
    return sorted(lamps, key=lambda place: abs(place[0]))


def yard(rng: Rng, palette: Palette) -> Scene:
    """A garden, court or lot: a house or two, fences, trees, and what people leave outside."""
    half = rng.uniform(4, 13)
    model = _relief(rng, palette, half + 2)
    kind = str(rng.choice(['grass', 'paving', 'gravel', 'asphalt', 'soil', 'grass']))
    x = np.linspace(-half, half, 30)
    bumps = 0.05 * rng.random() * np.abs(rng.normal(size=(30, 30)))
    model.add(shapes.terrain(bumps, x, x), palette.ground(kind))
    for side in range(4):
        turn = side * np.pi / 2
        at = half * np.array([np.sin(turn), -np.cos(turn)]) * -1
        if rng.random() < 0.5:
            depth = rng.uniform(7, 10)
            house = outdoor.building(rng, palette, rng.uniform(8, 2 * half), depth)
            model.place(house, (*(at * (1 + depth / 2 / half)), -0.05), turn)
        elif rng.random() < 0.8:
            model.place(outdoor.fence(rng, palette, 2 * half), (*at, -0.05), turn)
    if rng.random() < 0.6:  # a path
        model.add(
            shapes.box(), palette.ground('paving'), (2 * half, rng.uniform(0.8, 2), 0.1), (0, rng.uniform(-3, 3), 0.0)
        )
    _strew(rng, palette, model, half)
    _hedge_of_trees(rng, palette, model)
    lamps = [np.array([*rng.uniform(-0.8 * half, 0.8 * half, 2), rng.uniform(2.5, 4)]) for _ in range(3)]
    for place in lamps if palette.night else ():
        model.add(shapes.cylinder(8), palette.metal, (0.07, 0.07, place[2]), (*place[:2], 0))
        model.add(shapes.ball(), palette.lamp, (0.25, 0.25, 0.25), (*place[:2], place[2] - 0.1))
    sky, lights, ambient, visibility = _light(rng, palette, lamps)
    eyes = [([-0.85 * half, -0.85 * half, 0.15], [0.85 * half, 0.85 * half, 2.0])]
    aims = [([-half, -half, 0.1], [half, half, 1.6])]
    return Scene('yard', model, palette, lights, sky, ambient, eyes, aims, 0.5, 1.5, visibility)


def _strew(rng: Rng, palette: Palette, model: Model, half: float) -> None:
    heaps = [shapes.blob(rng, 0.6) for _ in range(3)]
    makers = (outdoor.tree, outdoor.tree, outdoor.bush, outdoor.bush, outdoor.bench, outdoor.bin_, outdoor.person,
              outdoor.car, furniture.chair, furniture.plant, clutter.carton, clutter.carton)  # fmt: skip
    for _ in range(int(rng.integers(8, 26))):
        at = (*rng.uniform(-0.9 * half, 0.9 * half, 2), 0.0)
        model.place(makers[int(rng.integers(len(makers)))](rng, palette), at, rng.uniform(0, 2 * np.pi))
    for _ in range(int(rng.integers(0, 12))):
        size = rng.uniform(0.1, 0.9) * rng.uniform(0.6, 1.2, 3)
        at = (*rng.uniform(-0.9 * half, 0.9 * half, 2), -0.2 * size[2])
        model.add(heaps[int(rng.integers(3))], palette.paint, size, at, tint=np.full(3, rng.uniform(0.25, 0.7)))
    table = furniture.table(rng, palette)
    model.place(table, (*rng.uniform(-0.6 * half, 0.6 * half, 2), 0.0), rng.uniform(0, 6))
