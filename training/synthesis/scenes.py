"""Scenes by kind, and the pictures of them: pure functions of the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from training.data.sample import Sample
from training.synthesis.camera import choose_view
from training.synthesis.library import Library
from training.synthesis.materials import Palette, Photos
from training.synthesis.outside import street, yard
from training.synthesis.render import Renderer
from training.synthesis.room import corridor, room
from training.synthesis.sensor import expose
from training.synthesis.tabletop import tabletop
from training.synthesis.world import Scene

KINDS: dict[str, Callable[[np.random.Generator, Palette], Scene]] = {
    'room': room,
    'corridor': corridor,
    'street': street,
    'yard': yard,
    'tabletop': tabletop,
}
_NIGHTS = 0.15


def make_scene(kind: str, seed: int, index: int, photos: Photos | None = None, library: Library | None = None) -> Scene:
    """The scene of a number: always the same for the same seed and index.

    Args:
        kind: one of KINDS.
        seed: of all scenes.
        index: of this scene.
        photos: pictures for walls, posters and things, besides procedural ones.
        library: things to stand around, besides procedural ones.
    """
    rng = np.random.default_rng([seed, index])
    return KINDS[kind](rng, Palette(rng, photos, library, night=bool(rng.random() < _NIGHTS)))


def pictures(
    scene: Scene,
    seed: int,
    index: int,
    views: int,
    size: tuple[int, int],
    supersampling: int,
    field_of_view: tuple[float, float],
) -> Iterator[Sample]:
    """Views of a scene; view j does not depend on how many there are."""
    renderer = Renderer(scene)
    for view in range(views):
        rng = np.random.default_rng([seed, index, 1 + view])
        camera = choose_view(rng, scene, renderer.caster, size, field_of_view)
        colour, depth = renderer.render(camera, rng, supersampling)
        meta = {
            'source': 'synthetic',
            'scene': f'{index:07d}',
            'kind': scene.kind,
            'scale': 'metric',
            'night': scene.palette.night,
            'K': camera.K.round(4).tolist(),
            'jpeg_quality': int(rng.integers(80, 98)),
        }
        image = expose(rng, colour, dark=scene.palette.night and scene.sky is not None)
        yield Sample(f'{index:07d}-{view:03d}', image, depth=depth, meta=meta)
