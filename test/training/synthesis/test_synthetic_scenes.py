"""Scenes of each kind: what is in them by depth, and that they are functions of their number."""

import numpy as np
import pytest

pytest.importorskip('embreex')
pytest.importorskip('trimesh')

from training.synthesis import shapes, textures
from training.synthesis.camera import Camera, choose_view, look
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.render import Renderer
from training.synthesis.scenes import KINDS, make_scene, pictures
from training.synthesis.world import Scene

SEED, SIZE = 11, (48, 64)
WIDE = (50.0, 110.0)


@pytest.fixture(scope='module')
def samples():
    """Two views of a scene of each kind."""
    return {kind: list(pictures(make_scene(kind, SEED, 1), SEED, 1, 2, SIZE, 2, WIDE)) for kind in KINDS}


@pytest.mark.parametrize('kind', KINDS)
def test_a_picture_shows_something_at_a_depth_that_is_known_everywhere(samples, kind):
    for sample in samples[kind]:
        depth = sample.depth
        assert (depth.dtype, depth.shape, sample.image.shape) == (np.float32, SIZE, (*SIZE, 3))
        assert not np.isnan(depth).any()
        assert depth.min() > 0.05
        assert np.isfinite(depth).mean() > 0.2
        assert sample.image.std() > 3
        assert (sample.meta['source'], sample.meta['kind'], sample.meta['scale']) == ('synthetic', kind, 'metric')
        width = 2 * np.degrees(np.arctan(SIZE[1] / 2 / sample.meta['K'][0][0]))
        assert 49.9 < width < 110.1


def test_rooms_are_near_and_closed_and_streets_are_far_and_have_a_sky(samples):
    depth = {kind: np.stack([sample.depth for sample in samples[kind]]) for kind in KINDS}
    assert np.median(depth['tabletop']) < np.median(depth['room']) + 1
    assert np.median(depth['room']) < 6
    assert depth['corridor'][np.isfinite(depth['corridor'])].max() > 5
    for kind in ('street', 'yard'):
        assert np.isinf(depth[kind]).mean() > 0.02
        assert depth[kind][np.isfinite(depth[kind])].max() > 10
    assert np.isinf(depth['tabletop']).sum() == 0


def test_no_ray_leaves_a_corridor_by_the_door_to_the_next_room():
    # A camera near the floor that looks through a door.
    (*_, sample) = pictures(make_scene('corridor', 9, 33), 9, 33, 2, (192, 256), 1, WIDE)
    assert np.isfinite(sample.depth).all()


@pytest.mark.parametrize('shape', [(1, 1), (1, 200), (2, 2)])
def test_a_picture_of_a_line_is_a_texture_too(shape):
    picture = np.full((*shape, 3), 77, np.uint8)
    assert textures.photo(np.random.default_rng(0), picture).max() == pytest.approx(77 / 255)


def test_a_scene_and_its_views_are_functions_of_their_numbers(samples):
    again = list(pictures(make_scene('corridor', SEED, 1), SEED, 1, 3, SIZE, 2, WIDE))
    for one, other in zip(samples['corridor'], again, strict=False):
        assert one.key == other.key
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.depth, other.depth)
    assert not np.array_equal(again[0].depth, again[1].depth)
    (other_seed,) = pictures(make_scene('corridor', SEED + 1, 1), SEED + 1, 1, 1, SIZE, 2, WIDE)
    assert not np.array_equal(other_seed.depth, again[0].depth)


def test_pixels_of_a_corridor_are_back_projected_between_its_floor_and_its_ceiling():
    scene = make_scene('corridor', SEED, 0)
    renderer = Renderer(scene)
    camera = choose_view(np.random.default_rng(5), scene, renderer.caster, SIZE, WIDE)
    _, depth = renderer.render(camera, np.random.default_rng(0), 1)
    rows, columns = np.nonzero(np.isfinite(depth))
    x, y = (columns - camera.K[0, 2]) / camera.K[0, 0], (rows - camera.K[1, 2]) / camera.K[1, 1]
    points = np.stack([x, y, np.ones_like(x)], -1) * depth[rows, columns, None]
    z = (points @ camera.rotation.T + camera.position)[:, 2]
    assert z.min() > -0.11  # of the ground outside its windows
    assert z.max() < 3.3
    # A good part of what is seen lies on the floor to the millimetre.
    assert (np.abs(z) < 1e-3).mean() > 0.1


def test_cameras_are_where_robots_have_them_and_nothing_touches_them():
    for kind in KINDS:
        scene = make_scene(kind, SEED, 3)
        renderer = Renderer(scene)
        for view in range(4):
            camera = choose_view(np.random.default_rng(view), scene, renderer.caster, SIZE, WIDE)
            assert 0.1 <= camera.position[2] <= 2.05
            roll = np.arcsin(camera.rotation[2, 0])
            assert abs(roll) < 0.3
            assert np.allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(camera.rotation) == pytest.approx(1)


def test_pictures_are_as_wide_as_asked_for():
    scene = make_scene('corridor', SEED, 0)
    narrow = list(pictures(scene, SEED, 0, 6, SIZE, 1, (20.0, 30.0)))
    across = [np.degrees(2 * np.arctan(SIZE[1] / 2 / sample.meta['K'][0][0])) for sample in narrow]
    assert 20 <= min(across) < max(across) <= 30
    # The same number is drawn whatever its range, so that all else of a first try is the same.
    (wide,) = pictures(scene, SEED, 0, 1, SIZE, 1, WIDE)
    share = (across[0] - 20) / 10
    assert np.degrees(2 * np.arctan(SIZE[1] / 2 / wide.meta['K'][0][0])) == pytest.approx(50 + 60 * share, abs=0.01)


def test_a_wall_that_fills_the_picture_has_one_depth_and_no_edge():
    palette = Palette(np.random.default_rng(SEED))
    wall = Model().add(shapes.box(), palette.paint, (40, 0.2, 40), (0, 3.1, -20))
    scene = Scene('room', wall, palette, [], None, np.ones((2, 3)), [], [])
    K = np.array([[40, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
    camera = Camera(K, look(np.zeros(3), np.pi / 2, 0.0, 0.0), np.zeros(3), SIZE)
    colour, depth = Renderer(scene).render(camera, np.random.default_rng(0), 2)
    assert depth == pytest.approx(np.full(SIZE, 3.0), abs=1e-4)
    assert colour.min() > 0.3
    assert colour.std() < 0.05


def test_a_users_pictures_are_on_the_walls():
    asked = []

    def photos(rng):
        asked.append(1)
        return np.full((20, 30, 3), [255, 0, 255], np.uint8)

    scene = make_scene('room', SEED, 0, photos)
    pink = [texture for texture in scene.palette.textures if np.allclose(texture, [1, 0, 1])]
    assert asked
    assert len(pink) == len(asked)
