"""What surfaces are made of: a scene's palette of textures with their gloss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.synthesis import textures
from training.synthesis.library import Library, Thing, parts
from training.synthesis.mesh import Model

# Of a user's pictures: given a random generator, a picture (H, W, 3) uint8.
Photos = Callable[[np.random.Generator], np.ndarray]
# The share of library things in another colour.
_DYED = 0.4
_BROWN, _RED_BROWN, _GREEN = (0.05, 0.12), (0.0, 0.07), (0.2, 0.36)


class Palette:
    """The materials of a scene; each method makes one and returns its index.

    Attributes:
        textures: (SIZE, SIZE, 3) float32 sRGB, one for each material.
        tile: metres after which each texture repeats; 1 with textures that are fitted to a surface.
        specular, gloss: strength and exponent of the highlight (Blinn 1977).
        emission: radiance of the surface itself, in units of its colour.
    """

    def __init__(self, rng: np.random.Generator, photos: Photos | None = None, library: Library | None = None, *,
                 night: bool = False) -> None:  # fmt: skip
        self.rng, self.photos, self.library, self.night = rng, photos, library, night
        self.textures: list[np.ndarray] = []
        self.tile: list[float] = []
        self.specular: list[float] = []
        self.gloss: list[float] = []
        self.emission: list[float] = []
        self.paint = self.add(textures.plain(rng, (0.95, 0.95, 0.95)), 1.0, 0.08, 20)
        self.plastic = self.add(textures.plain(rng, (0.95, 0.95, 0.95), 0.01), 1.0, 0.5, 60)
        self.metal = self.add(textures.plain(rng, (0.7, 0.7, 0.72), 0.06), 0.3, 1.2, 40)
        self.lamp = self.add(textures.plain(rng, (1.0, 1.0, 1.0), 0.0), 1.0, 0.0, 1, 4.0)
        self._foliage: list[int] = []
        self._things: dict[Thing, Model] = {}

    def add(self, texture: np.ndarray, tile: float, specular: float = 0.04, gloss: float = 12.0,
            emission: float = 0.0) -> int:  # fmt: skip
        """Add a material."""
        self.textures.append(np.asarray(texture, np.float32))
        self.tile.append(tile)
        self.specular.append(specular)
        self.gloss.append(gloss)
        self.emission.append(emission)
        return len(self.textures) - 1

    def _one_of(self, *choices: Callable[[], np.ndarray]) -> np.ndarray:
        return choices[int(self.rng.integers(len(choices)))]()

    def wood(self, planks: int = 1) -> int:
        """Wood of furniture, or (planks) of floors and fences."""
        base = textures.colour(self.rng, (0.2, 0.65), (0.3, 0.85), _BROWN)
        return self.add(textures.wood(self.rng, base, planks), 0.9 if planks == 1 else 0.15 * planks, 0.15, 25)

    def fabric(self) -> int:
        """Upholstery, bed linen, curtains, clothes."""
        base, other = textures.colour(self.rng, (0.0, 0.8), (0.15, 0.95)), textures.colour(self.rng)
        return self.add(textures.carpet(self.rng, base, other), self.rng.uniform(0.2, 0.8), 0.0)

    def wall(self) -> int:
        """Inner walls: paint, wallpaper, brick, concrete, panels, tiles."""
        rng = self.rng
        pale = textures.colour(rng, (0.0, 0.3), (0.55, 0.97))
        if self.photos is not None and rng.random() < 0.15:
            return self.add(textures.mirrored(textures.photo(rng, self.photos(rng))), rng.uniform(1.0, 3.0))
        choice = rng.random()
        if choice < 0.55:
            return self.add(textures.plain(rng, pale), 2.0)
        texture = self._one_of(
            lambda: textures.carpet(rng, pale, textures.colour(rng, (0.0, 0.5), (0.5, 0.95))),
            lambda: textures.bricks(rng, textures.colour(rng, (0.2, 0.6), (0.45, 0.85), _RED_BROWN)),
            lambda: textures.concrete(rng, textures.colour(rng, (0.0, 0.1), (0.4, 0.75))),
            lambda: textures.tiles(rng, pale, pale * 0.95, 4),
            lambda: textures.wood(rng, textures.colour(rng, (0.2, 0.5), (0.4, 0.9), _BROWN), 4).transpose(1, 0, 2),
        )
        return self.add(texture, rng.uniform(0.9, 1.6))

    def floor(self) -> int:
        """Floors: planks, tiles, carpet, concrete."""
        rng = self.rng
        base = textures.colour(rng, (0.0, 0.35), (0.3, 0.9))
        brown = textures.colour(rng, (0.25, 0.6), (0.3, 0.8), _BROWN)
        texture = self._one_of(
            lambda: textures.wood(rng, brown, int(rng.integers(4, 9))),
            lambda: textures.wood(rng, brown, 6),
            lambda: textures.tiles(rng, base, textures.colour(rng, (0, 0.3)), int(rng.integers(2, 6))),
            lambda: textures.carpet(rng, base, textures.colour(rng)),
            lambda: textures.concrete(rng, base),
        )
        return self.add(texture, rng.uniform(0.9, 1.8), rng.choice([0.03, 0.4]), rng.uniform(15, 60))

    def ground(self, kind: str) -> int:
        """Outdoor ground: `grass`, `soil`, `gravel`, `paving`, `asphalt`."""
        rng = self.rng
        if kind == 'asphalt':
            grey = textures.colour(rng, (0.0, 0.08), (0.2, 0.5))
            return self.add(textures.asphalt(rng, grey), rng.uniform(2.0, 4.0), 0.06, 15)
        if kind == 'paving':
            base = textures.colour(rng, (0.0, 0.25), (0.4, 0.75), _BROWN)
            kinds = {'offset': bool(rng.random() < 0.5), 'aspect': int(rng.integers(1, 3))}
            return self.add(textures.tiles(rng, base, base * 0.85, int(rng.integers(2, 6)), **kinds), 1.6)
        hue, saturation = {'grass': (_GREEN, (0.3, 0.7)), 'soil': (_BROWN, (0.2, 0.6)), 'gravel': (_BROWN, (0, 0.2))}[
            kind
        ]
        pair = [textures.colour(rng, saturation, (0.2, 0.65), hue) for _ in range(2)]
        return self.add(textures.grass(rng, *pair), rng.uniform(1.0, 3.0), 0.0)

    def outer_wall(self) -> int:
        """A house's wall without windows."""
        rng = self.rng
        if rng.random() < 0.5:
            return self.add(textures.bricks(rng, textures.colour(rng, (0.2, 0.6), (0.4, 0.8), _RED_BROWN)), 0.9)
        return self.add(textures.concrete(rng, textures.colour(rng, (0.0, 0.4), (0.5, 0.95))), 2.5)

    def facade(self) -> int:
        """A house's wall with windows, each storey 3 m."""
        base = textures.colour(self.rng, (0.0, 0.5), (0.35, 0.95), (0.0, 0.15))
        emission = 0.25 if self.night else 0.0
        return self.add(textures.facade(self.rng, base, self.night), 3.0, 0.1, 30, emission)

    def foliage(self) -> int:
        """Leaves; a scene has a few kinds."""
        if len(self._foliage) < 3:
            pair = [textures.colour(self.rng, (0.3, 0.75), (0.2, 0.6), _GREEN) for _ in range(2)]
            self._foliage.append(self.add(textures.grass(self.rng, *pair), 0.6, 0.05))
            return self._foliage[-1]
        return int(self.rng.choice(self._foliage))

    def picture(self, emission: float = 0.0) -> int:
        """A print or a user's photo, to be fitted to a surface: posters, screens, labels, packages."""
        if self.photos is not None and self.rng.random() < 0.7:
            texture = textures.photo(self.rng, self.photos(self.rng))
        else:
            texture = textures.poster(self.rng)
        return self.add(texture, 1.0, 0.2, 40, emission)

    def thing(self, role: str, share: float) -> Model | None:
        """A thing from the user's libraries, in so large a share of cases; None in the others, or if there is none."""
        if self.library is None or self.rng.random() >= share:
            return None
        thing = self.library.choose(role, self.rng)
        if thing is None:
            return None
        if thing not in self._things:
            self._things[thing] = self._model(thing)
        model = self._things[thing]
        return Model(list(model.parts)) if model.parts else None

    def _model(self, thing: Thing) -> Model:
        model = Model()
        # Things of one catalogue would all have the colours of their makers.
        dye = textures.colour(self.rng, (0.0, 0.4), (0.5, 1.0)) if self.rng.random() < _DYED else np.ones(3)
        for part in parts(thing):
            material = self.plastic
            if part.texture is not None:
                material = self.add(part.texture.astype(np.float32) / 255, 1.0, 0.1, 20)
            model.add_mapped(part.shape, part.where, material, part.tint * dye)
        return model
