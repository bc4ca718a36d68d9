"""Views of known solids: depth is that of geometry, colour that of light."""

import numpy as np
import pytest

pytest.importorskip('embreex')
pytest.importorskip('trimesh')

from training.synthesis import shapes
from training.synthesis.camera import Camera, look
from training.synthesis.materials import Palette
from training.synthesis.mesh import Model
from training.synthesis.render import Renderer
from training.synthesis.sensor import expose
from training.synthesis.sky import daylight
from training.synthesis.world import Light, Scene

SIZE = (48, 64)
K = np.array([[40.0, 0.0, 30.5], [0.0, 42.0, 25.0], [0.0, 0.0, 1.0]])


def scene(*parts, lights=(), ambient=0.2, visibility=np.inf):
    """A world of (shape, size, place), white."""
    rng = np.random.default_rng(0)
    palette, model = Palette(rng), Model()
    for shape, size, place in parts:
        model.add(shape, palette.paint, size, place)
    sky, _, _ = daylight(rng, night=False)
    return Scene('room', model, palette, list(lights), sky, np.full((2, 3), ambient), [], [], visibility=visibility)


def camera(yaw=0.0, pitch=0.0, roll=0.0, position=(0.0, 0.0, 1.5), size=SIZE):
    view = Camera(K, look(np.array(position), yaw, pitch, roll), np.array(position), SIZE)
    return view if size == SIZE else view.at_size(size)


def view(world, eye, supersampling=1):
    return Renderer(world).render(eye, np.random.default_rng(1), supersampling)


def in_the_world(eye, depth):
    """(H, W, 3): pixels back-projected with K and moved by the pose, as any user of the data does."""
    rows, columns = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]]
    x, y = (columns - eye.K[0, 2]) / eye.K[0, 0], (rows - eye.K[1, 2]) / eye.K[1, 1]
    # Not by matmul, which warns of the sky's infinities.
    return (
        np.einsum('hwj,kj->hwk', np.stack([x, y, np.ones_like(x)], -1) * depth[..., None], eye.rotation) + eye.position
    )


@pytest.mark.parametrize(('pitch', 'roll', 'yaw'), [(-0.5, 0.0, 0.0), (-0.3, 0.2, 2.0), (-1.2, -0.1, -1.0)])
def test_pixels_of_a_floor_are_back_projected_onto_it(pitch, roll, yaw):
    eye = camera(yaw, pitch, roll, (0.3, -0.2, 1.7))
    _, depth = view(scene((shapes.sheet(), (300, 300, 1), (0, 0, 0.2))), eye)
    points = in_the_world(eye, depth)
    seen = np.isfinite(depth)
    assert seen.mean() > 0.5
    assert np.abs(points[seen][:, 2] - 0.2).max() < 1e-4 * depth[seen].max()


def test_depth_is_along_the_optical_axis_and_not_along_the_ray():
    wall = (shapes.box(), (1, 60, 60), (5.5, 0, -30))
    _, depth = view(scene(wall), camera())
    assert np.allclose(depth, 5.0, rtol=1e-5)


def test_a_ball_has_the_depth_of_a_sphere():
    eye, centre, radius = camera(), np.array([4.0, 0.0, 1.5]), 1.0
    _, depth = view(scene((shapes.ball(), (2, 2, 2), centre - [0, 0, radius])), eye)
    directions, cosine = eye.rays(eye.pixels())
    along = directions @ (centre - eye.position)
    root = along**2 - (4.0**2 - radius**2)
    expected = np.where(root > 0, (along - np.sqrt(np.maximum(root, 0))) * cosine, np.inf).reshape(SIZE)
    inside = (root > 0.3).reshape(SIZE)  # away from the edge, where a facet may stand for a lot of the sphere
    assert inside.sum() > 100
    # Triangles with corners on the sphere lie inside it by less than 3 %.
    assert np.all(depth[inside] >= expected[inside] - 1e-5)
    assert np.all(depth[inside] <= expected[inside] + 0.03 * radius)
    assert np.isinf(depth[(root < 0).reshape(SIZE)]).all()


def test_edges_do_not_mix_near_and_far_whatever_the_supersampling():
    world = scene((shapes.box(), (0.5, 0.7, 0.9), (2.25, 0.1, 1.0)), (shapes.box(), (1, 60, 60), (8.5, 0, -30)))
    colour, depth = view(world, camera(roll=0.3))
    finer_colour, same_depth = view(world, camera(roll=0.3), supersampling=3)
    near, far = np.isclose(depth, 2.0, atol=0.5), np.isclose(depth, 8.0, rtol=1e-5)
    assert np.all(near ^ far)
    assert near.any()
    assert np.array_equal(depth, same_depth)
    assert not np.array_equal(colour, finer_colour)


def test_an_edge_gets_the_mean_of_its_finer_rays():
    # A lamp-like wall in front of black nothing: the picture is the share of each pixel that it covers.
    world = scene((shapes.box(), (1, 1.5, 1.5), (4.5, 0, 0.75)), ambient=1.0)
    world.sky = None
    colour, _ = view(world, camera(roll=0.4), supersampling=4)
    one, _ = view(world, camera(roll=0.4))
    values = colour[..., 0] / one.max()
    between = (values > 0.1) & (values < 0.85)
    assert between.sum() > 20
    assert not ((one[..., 0] / one.max() > 0.1) & (one[..., 0] / one.max() < 0.85)).any()


def test_what_is_between_a_point_and_the_sun_casts_a_shadow():
    sun = Light(np.array([0.0, 0.0, 1.0]), np.ones(3), 0.01, sun=True)
    roof = (shapes.box(), (2, 2, 0.1), (4, 0, 3.0))
    eye = camera(pitch=-0.4)
    colour, depth = view(scene((shapes.sheet(), (60, 60, 1), (0, 0, 0)), roof, lights=[sun]), eye)
    points, floor = in_the_world(eye, depth), np.isfinite(depth)
    under = floor & (np.abs(points[..., 0] - 4) < 0.8) & (np.abs(points[..., 1]) < 0.8)
    outside = floor & (np.abs(points[..., 1]) > 1.5) & (points[..., 2] < 0.1)
    assert under.sum() > 30
    assert colour[under].max() < 0.5 * colour[outside].min()


def test_a_lamp_lights_by_the_inverse_square_of_its_distance():
    lamp = Light(np.array([0.0, 0.0, 1.5]), np.full(3, 100.0), 0.01)
    walls = [scene((shapes.box(), (1, 900, 900), (far + 0.5, 0, -450)), lights=[lamp], ambient=0.0) for far in (5, 10)]
    near, far = (np.median(view(world, camera())[0]) for world in walls)
    assert near / far == pytest.approx(4.0, rel=0.02)


def test_haze_hides_what_is_far_and_leaves_its_depth():
    wall = (shapes.box(), (1, 900, 900), (100.5, 0, -450))
    clear, hazy = scene(wall), scene(wall, visibility=10.0)
    colour, depth = view(hazy, camera())
    assert np.allclose(colour, hazy.sky.horizon, rtol=1e-2)
    assert not np.allclose(view(clear, camera())[0], clear.sky.horizon, rtol=1e-2)
    assert np.allclose(depth, 100.0, rtol=1e-5)


def test_the_sensor_makes_a_picture_of_any_light():
    rng = np.random.default_rng(3)
    light = np.linspace(0.5, 1.5, 64 * 48, dtype=np.float32).reshape(48, 64, 1) * np.ones(3, np.float32)
    for strength in (1e-3, 1.0, 1e4):
        image = expose(rng, light * np.float32(strength))
        assert (image.dtype, image.shape) == (np.uint8, (48, 64, 3))
        assert 50 < image.mean() < 200
    assert expose(rng, np.zeros((48, 64, 3), np.float32)).max() < 60
    assert expose(rng, light, dark=True).mean() < 150
