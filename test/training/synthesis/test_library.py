"""Furniture libraries: where a model's corners, colours and textures end up, and what is left out."""

import io
import zipfile

import numpy as np
import pytest

pytest.importorskip('embreex')
trimesh = pytest.importorskip('trimesh')

import cv2

from training.errors import DataError
from training.synthesis.library import Library, parts
from training.synthesis.mesh import Model
from training.synthesis.scenes import make_scene, pictures

# A box of 2 x 1 x 4 units (x, y, z), y up; its front (z = 4) has the texture, its other faces are red.
CORNERS = [(x, y, z) for x in (0, 2) for y in (0, 1) for z in (0, 4)]
BOX = '\n'.join(
    [
        'mtllib box.mtl',
        *(f'v {x} {y} {z}' for x, y, z in CORNERS),
        'vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1',
        'usemtl front\nf 2/1 6/2 8/3 4/4',
        'usemtl red\nf 1/1 3/2 7/3 5/4\nf 1/1 2/2 4/3 3/4\nf 5/1 7/2 8/3 6/4\nf 1/1 5/2 6/3 2/4\nf 3/1 4/2 8/3 7/4',
    ]
)
MATERIALS = 'newmtl front\nKd 0 0 0\nmap_Kd {texture}\nnewmtl red\nKd 1 0 0\nd {opacity}\n'


def picture(alpha=255):
    """Upper half blue, lower half green, as a PNG."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 0], pixels[4:, :, 1], pixels[..., 3] = 255, 255, alpha
    return cv2.imencode('.png', pixels)[1].tobytes()


def write_library(path, entries, opacity=1.0, alpha=255, obj=BOX, texture='Front.PNG'):
    """entries: dictionaries of catalogue properties, all of the one model."""
    lines = ['id=test']
    for number, entry in enumerate(entries, 1):
        given = {'model': '/things/box/box.obj', 'width': 100, 'depth': 50, 'height': 80, 'category': 'Office', **entry}
        lines += [f'{name}#{number}={value}' for name, value in given.items()]
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('PluginFurnitureCatalog.properties', '\n'.join(lines))
        archive.writestr('things/box/box.obj', obj)
        archive.writestr('things/box/box.mtl', MATERIALS.format(opacity=opacity, texture=texture))
        archive.writestr('things/box/front.png', picture(alpha))
    return path.parent


def only(folder, role='floor'):
    """The one thing of a role."""
    return Library.find(folder).choose(role, np.random.default_rng(0))


def test_a_model_stands_on_the_floor_in_its_catalogued_size_with_its_front_towards_minus_y(tmp_path):
    found = parts(only(write_library(tmp_path / 'a.sh3f', [{}])))
    corners = np.concatenate([part.shape.corners.reshape(-1, 3) for part in found])
    assert np.allclose(corners.min(0), [-0.5, -0.25, 0], atol=1e-6)
    assert np.allclose(corners.max(0), [0.5, 0.25, 0.8], atol=1e-6)
    (front,) = (part for part in found if part.texture is not None)
    assert np.allclose(front.shape.corners[..., 1], -0.25)
    assert np.allclose(np.abs(front.shape.normals), [0, 1, 0], atol=1e-5)


def test_what_is_mounted_hangs_at_its_elevation_and_what_lies_on_a_table_does_not(tmp_path):
    entries = [{'elevation': 120, 'height': 40}, {'width': 10, 'depth': 10, 'height': 12, 'elevation': 75}]
    folder = write_library(tmp_path / 'a.sh3f', entries)
    for role, low, high in (('mounted', 1.2, 1.6), ('small', 0.0, 0.12)):
        z = np.concatenate([part.shape.corners[..., 2].ravel() for part in parts(only(folder, role))])
        assert (z.min(), z.max()) == pytest.approx((low, high), abs=1e-6)


def test_a_texture_is_upright_and_black_beneath_it_does_not_darken_it(tmp_path):
    found = parts(only(write_library(tmp_path / 'a.sh3f', [{}])))
    (front,) = (part for part in found if part.texture is not None)
    high = front.where[front.shape.corners[..., 2] > 0.7]
    assert np.allclose(high[:, 1], 1)
    assert front.texture[-1, 0].tolist() == [0, 0, 255]  # RGB at the top: blue
    assert front.texture[0, 0].tolist() == [0, 255, 0]
    assert front.tint.tolist() == [1, 1, 1]
    (plain,) = (part for part in found if part.texture is None)
    assert plain.tint.tolist() == [1, 0, 0]


@pytest.mark.parametrize('name', ['front.png', './Front.png', 'C:/models/FRONT.png', '.\\front.png'])
def test_a_texture_is_found_by_the_names_that_materials_have_for_it(tmp_path, name):
    found = parts(only(write_library(tmp_path / 'a.sh3f', [{}], texture=name)))
    assert sum(part.texture is not None for part in found) == 1


def test_a_rotation_of_the_catalogue_turns_the_model_before_it_is_scaled(tmp_path):
    # About the vertical axis by 90 degrees: what was in front is at the side.
    folder = write_library(tmp_path / 'a.sh3f', [{'modelRotation': '0 0 1 0 1 0 -1 0 0'}])
    (front,) = (part for part in parts(only(folder)) if part.texture is not None)
    assert np.allclose(front.shape.corners[..., 0], 0.5)
    assert np.allclose(np.ptp(front.shape.corners[..., 1]), 0.5)


def test_what_is_seen_through_is_left_out(tmp_path):
    glass = parts(only(write_library(tmp_path / 'a.sh3f', [{}], opacity=0.2)))
    assert [part.texture is not None for part in glass] == [True]
    (tmp_path / 'other').mkdir()
    leaf = parts(only(write_library(tmp_path / 'other' / 'b.sh3f', [{}], alpha=0)))
    assert [part.texture is not None for part in leaf] == [False]


@pytest.mark.parametrize(
    ('entry', 'role'),
    [
        ({'elevation': 120, 'height': 40}, 'mounted'),
        ({'width': 10, 'depth': 10, 'height': 12, 'elevation': 75}, 'small'),
        ({'category': 'Characters'}, 'person'),
        ({'category': 'Vehicles', 'depth': 450}, 'vehicle'),
        ({'category': 'Exterior'}, 'outdoor'),
        ({'doorOrWindow': 'true'}, None),
        ({'width': 900}, None),
        ({'elevation': 220, 'height': 40}, None),
    ],
)
def test_things_are_put_where_their_entry_says(tmp_path, entry, role):
    # Beside a thing that stands on the floor, for a library of nothing that can be placed is refused.
    library = Library.find(write_library(tmp_path / 'a.sh3f', [{}, entry]))
    roles = ('mounted', 'small', 'person', 'vehicle', 'outdoor')
    assert [name for name in roles if library.choose(name, np.random.default_rng(0))] == ([role] if role else [])
    assert {library.choose('floor', np.random.default_rng(seed)).size[0] for seed in range(9)} == {1.0}


def test_a_scene_shows_things_of_a_library_the_same_each_time(tmp_path):
    library = Library.find(write_library(tmp_path / 'a.sh3f', [{}]))
    without, *twice = (make_scene('room', 3, 1, library=chosen) for chosen in (None, library, library))
    assert {tuple(Model.arrays(scene.model)[0].shape) for scene in twice} != {without.model.arrays()[0].shape}
    one, other = (next(pictures(scene, 3, 1, 1, (48, 64), 1, (50.0, 110.0))) for scene in twice)
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.depth, other.depth)


def test_what_is_no_library_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match='no furniture libraries'):
        Library.find(tmp_path)
    (tmp_path / 'broken.sh3f').write_bytes(b'PK no archive')
    with pytest.raises(DataError, match=r'broken\.sh3f'):
        Library.find(tmp_path)
    (tmp_path / 'broken.sh3f').unlink()
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w') as archive:
        archive.writestr('readme', 'no catalogue')
    (tmp_path / 'empty.sh3f').write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r'empty\.sh3f'):
        Library.find(tmp_path)


@pytest.mark.parametrize(
    'entry',
    [{'width': 'wide'}, {'modelRotation': 'none'}, {'modelRotation': '1 0 0 0 1 0 0 0'}, {'modelRotation': 'nan ' * 9}],
)
def test_a_catalogue_that_cannot_be_read_is_named(tmp_path, entry):
    folder = write_library(tmp_path / 'a.sh3f', [entry])
    with pytest.raises(DataError, match=r'a\.sh3f: its catalogue cannot be read'):
        Library.find(folder)


def test_a_model_at_the_root_of_its_library_is_read(tmp_path):
    beside = parts(only(write_library(tmp_path / 'a.sh3f', [{}])))
    (tmp_path / 'root').mkdir()
    with zipfile.ZipFile(tmp_path / 'a.sh3f') as found, zipfile.ZipFile(tmp_path / 'root' / 'b.sh3f', 'w') as archive:
        for name in found.namelist():
            archive.writestr(name.rpartition('/')[2], found.read(name).replace(b'/things/box/', b'/'))
    for one, other in zip(beside, parts(only(tmp_path / 'root')), strict=True):
        assert np.array_equal(one.shape.corners, other.shape.corners)


def test_a_catalogue_whose_bytes_are_damaged_is_named(tmp_path):
    path = tmp_path / 'a.sh3f'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('PluginFurnitureCatalog.properties', 'id=test\n' * 100)
    content = bytearray(path.read_bytes())
    start = content.index(b'PluginFurnitureCatalog.properties') + len(b'PluginFurnitureCatalog.properties')
    content[start : start + 8] = b'\xff' * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'a\.sh3f: not a furniture library'):
        Library.find(tmp_path)


def test_a_library_of_which_nothing_can_be_placed_is_refused(tmp_path):
    folder = write_library(tmp_path / 'a.sh3f', [{'category': 'Doors and windows'}])
    with pytest.raises(DataError, match='nothing in its furniture libraries can be placed'):
        Library.find(folder)


def test_a_folder_is_found_from_the_users_home(tmp_path, monkeypatch):
    write_library(tmp_path / 'a.sh3f', [{}])
    monkeypatch.setenv('HOME', str(tmp_path))
    assert only('~') is not None


def test_a_model_that_cannot_be_read_is_named(tmp_path):
    folder = write_library(tmp_path / 'a.sh3f', [{}], obj='v 0 0\nf 1 2 3 nonsense\n')
    with pytest.raises(DataError, match=r'things/box/box\.obj'):
        parts(only(folder))
