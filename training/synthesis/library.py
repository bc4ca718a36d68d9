"""Furniture libraries of Sweet Home 3D: real things, modelled by hand, in place of procedural ones.

A library is a `.sh3f` file: a zip archive of OBJ models and a catalogue, `PluginFurnitureCatalog.properties`, with each
model's category and its size in centimetres (Sweet Home 3D user's guide, "Furniture library file format").
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote

import cv2
import numpy as np
import trimesh

from training.errors import DataError
from training.files import Folder, fingerprint
from training.synthesis.mesh import Shape, corner_normals, has_area
from training.synthesis.textures import SIZE

_SUFFIX = '.sh3f'
_CATALOGUE = 'PluginFurnitureCatalog.properties'
_PROPERTY = re.compile(r'^(\w+)#(\d+)\s*=\s*(.*?)\s*$', re.MULTILINE)
# What zipfile raises for files that are damaged, encrypted, or compressed in a way that it does not know.
_DAMAGED = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
# A scene has tens of things, and a few models of a library have a hundred times the triangles of the others.
_MAX_BYTES = 2_500_000
# The opacity below which a material is glass, and the share of texels below which a texture is not cut out.
_CLEAR, _CUT_OUT = 0.6, 0.05


@dataclass(frozen=True)
class Thing:
    """An entry of a library's catalogue.

    Attributes:
        library: path of the library.
        path: of the model in it.
        role: what it is for: `floor` (to stand on), `mounted` (on a wall), `small` (to lie about), `person`, `vehicle`
            or `outdoor`.
        size: width, depth and height in metres.
        elevation: metres from the floor to the lower side of what is mounted; 0 of all else, which stands on something.
        rotation: (3, 3) row by row, of the model before it is scaled to its size.
    """

    library: str
    path: str
    role: str
    size: tuple[float, float, float]
    elevation: float
    rotation: tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """The triangles of one material of a thing around the origin, its back towards +y and the floor at z = 0.

    Attributes:
        shape: in metres.
        where: (F, 3, 2) coordinates in the texture.
        texture: (SIZE, SIZE, 3) uint8 sRGB, its first row the lowest; None for one colour.
        tint: (3,) sRGB, which multiplies the texture.
    """

    shape: Shape
    where: np.ndarray
    texture: np.ndarray | None
    tint: np.ndarray


class Library:
    """The things of all libraries in a folder, by role. Picklable."""

    def __init__(self, things: list[Thing], mark: str) -> None:
        self.fingerprint = mark
        self._things: Mapping[str, list[Thing]] = defaultdict(list)
        for thing in things:
            self._things[thing.role].append(thing)

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> Library:
        """Read the catalogues of a local folder's libraries; raises DataError if it holds none that can be read."""
        folder = Folder(path)
        names = sorted(name for name in folder.names('**') if name.endswith(_SUFFIX))
        if not names:
            raise DataError(f'{folder.url}: no furniture libraries ({_SUFFIX}) in this folder')
        things = [thing for name in names for thing in _catalogue(f'{folder.path}/{name}')]
        if not things:
            raise DataError(f'{folder.url}: nothing in its furniture libraries can be placed')
        return cls(things, fingerprint([[name, folder.size(name)] for name in names]))

    def choose(self, role: str, rng: np.random.Generator) -> Thing | None:
        """Any thing of a role; None if there is none."""
        things = self._things.get(role, ())
        return things[int(rng.integers(len(things)))] if things else None


def _catalogue(library: str) -> list[Thing]:
    """What is of use in a library, in the catalogue's order."""
    try:
        with zipfile.ZipFile(library) as archive:
            text = archive.read(_CATALOGUE).decode('latin-1')
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except (KeyError, *_DAMAGED) as error:
        raise DataError(f'{library}: not a furniture library ({error})') from error
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for name, number, value in _PROPERTY.findall(text):
        entries[int(number)][name] = value
    try:
        return list(_things(library, entries, sizes))
    except (KeyError, ValueError) as error:
        raise DataError(f'{library}: its catalogue cannot be read ({type(error).__name__}: {error})') from error


def _things(library: str, entries: Mapping[int, Mapping[str, str]], sizes: Mapping[str, int]) -> Iterator[Thing]:
    for _, entry in sorted(entries.items()):
        path = unquote(entry.get('model', '')).lstrip('/')
        if path.endswith('.obj') and sizes.get(path, _MAX_BYTES) < _MAX_BYTES:
            size = tuple(float(entry[side]) / 100 for side in ('width', 'depth', 'height'))
            elevation = float(entry.get('elevation', 0)) / 100
            rotation = tuple(map(float, entry.get('modelRotation', '1 0 0 0 1 0 0 0 1').split()))
            if len(rotation) != 9 or not np.isfinite(rotation).all():
                raise ValueError(f'modelRotation of {path} is {entry["modelRotation"]!r}, expected nine numbers')
            if role := _role(entry, size, elevation):
                yield Thing(library, path, role, size, elevation if role == 'mounted' else 0.0, rotation)


def _role(entry: Mapping[str, str], size: tuple[float, ...], elevation: float) -> str | None:
    """None for what has no place: doors and windows, what hangs from the ceiling, pools and planes."""
    category, (width, depth, height) = entry.get('category', ''), size
    handy = max(width, depth) <= 2.8 and elevation + height <= 2.3
    # The first that applies decides.
    cases = (
        (None, entry.get('doorOrWindow') == 'true' or category in ('Doors and windows', 'Staircases'), True),
        ('vehicle', category == 'Vehicles', 1.0 < max(width, depth) < 6.0 and height < 3.0),
        ('person', category == 'Characters', True),
        ('small', max(size) < 0.5, True),
        ('outdoor', category == 'Exterior', handy),
        ('mounted', elevation > 0.2, handy),
        ('floor', True, handy and height > 0.25),
    )
    return next(role if fits else None for role, applies, fits in cases if applies)


@cache
def parts(thing: Thing) -> tuple[Part, ...]:
    """The triangles of a thing; raises DataError if its model cannot be read.

    Glass, and materials whose texture is cut out by its alpha channel (leaves), have no triangles: a ray caster that
    shades what it hits first would show them as solid. So a glass has none at all.
    """
    head, slash, _ = thing.path.rpartition('/')
    folder = head + slash
    try:
        with zipfile.ZipFile(thing.library) as archive:
            names = [name for name in archive.namelist() if name.startswith(folder) and not name.endswith('/')]
            if not folder:  # at the root, beside the folders of the others
                names = [name for name in names if '/' not in name]
            files = {name[len(folder) :]: archive.read(name) for name in names}
        geometry = _geometry(files, thing.path[len(folder) :])
        meshes = [(mesh, material) for mesh in geometry if (material := _material(mesh)) is not None]
    except (*_DAMAGED, ValueError, IndexError, KeyError) as error:
        raise DataError(f'{thing.library}: the model {thing.path} cannot be read ({error})') from error
    if not meshes:
        return ()
    placed = _placed([np.asarray(mesh.vertices) for mesh, _ in meshes], thing)
    return tuple(
        part
        for vertices, (mesh, (texture, tint)) in zip(placed, meshes, strict=True)
        if (part := _part(vertices, mesh, texture, tint)) is not None
    )


def _geometry(files: Mapping[str, bytes], name: str) -> list[trimesh.Trimesh]:
    model, resolver = trimesh.util.wrap_as_stream(files[name]), _Resolver(files)
    scene = trimesh.load_scene(model, file_type='obj', resolver=resolver, process=False, group_material=True)
    return [mesh for mesh in scene.geometry.values() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]


class _Resolver(trimesh.resolvers.ZipResolver):
    """Finds materials and textures beside a model, whatever the case of their names."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__({name.lower(): content for name, content in files.items()})

    def get(self, name: str) -> bytes:
        return super().get(name.replace('\\', '/').lower())


def _material(mesh: trimesh.Trimesh) -> tuple[np.ndarray | None, np.ndarray] | None:
    """Texture and tint; None for what is seen through."""
    material = getattr(mesh.visual, 'material', None)
    if material is None:
        return None, np.full(3, 0.8)
    colour = np.asarray(material.diffuse, np.float64) / 255
    opacity = float(np.ravel(material.kwargs.get('d', 1.0))[0]) if hasattr(material, 'kwargs') else 1.0
    if min(colour[3], opacity) < _CLEAR:
        return None
    image = getattr(material, 'image', None)
    if image is None or mesh.visual.uv is None:
        return None, colour[:3]
    pixels = np.asarray(image.convert('RGBA'))
    if (pixels[..., 3] < 128).mean() > _CUT_OUT:
        return None
    texture = cv2.resize(pixels[..., :3], (SIZE, SIZE), interpolation=cv2.INTER_AREA)[::-1]
    # Many models have black as the colour beneath a texture.
    return np.ascontiguousarray(texture), np.ones(3)


def _placed(vertices: list[np.ndarray], thing: Thing) -> list[np.ndarray]:
    """From the model's axes (y up, front towards +z) and unit to metres, z up, front towards -y."""
    rotation = np.array(thing.rotation).reshape(3, 3)
    turned = [np.einsum('...j,kj->...k', part, rotation) for part in vertices]
    low = np.min([part.min(0) for part in turned], axis=0)
    high = np.max([part.max(0) for part in turned], axis=0)
    width, depth, height = thing.size
    scale = np.array([width, height, depth]) / np.maximum(high - low, 1e-9)
    origin = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return [((part - origin) * scale)[:, [0, 2, 1]] * [1, -1, 1] + [0, 0, thing.elevation] for part in turned]


def _part(vertices: np.ndarray, mesh: trimesh.Trimesh, texture: np.ndarray | None, tint: np.ndarray) -> Part | None:
    faces = np.asarray(mesh.faces)
    corners = vertices[faces].astype(np.float32)
    kept = has_area(corners)
    if not kept.any():
        return None
    # The vertices of a texture's seam are two: joined, so that it does not show in the shading.
    _, joined = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    shape = Shape(corners[kept], corner_normals(corners[kept], joined.ravel()[faces[kept]]))
    where = np.zeros((len(shape.corners), 3, 2), np.float32)
    if texture is not None:
        where = np.nan_to_num(np.asarray(mesh.visual.uv, np.float32)[faces[kept]])
    return Part(shape, where, texture, tint.astype(np.float32))
