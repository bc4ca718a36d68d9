"""KITTI: the LiDAR of a real car through the points source; the data is not part of the package."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from depth_anything_ros.alignment import View, make_source
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.transforms import transform_points
from depth_anything_ros.messages import fill_point_cloud

DRIVE = Path(__file__).resolve().parents[2].parent / 'shared' / 'data' / 'kitti_drive'
pytestmark = pytest.mark.skipif(not DRIVE.is_dir(), reason='shared/data/kitti_drive is not there')

FRAMES = ('0000000000', '0000000036', '0000000072')
# From camera 0 to camera 2: the fourth column of KITTI's P_rect_02, in metres.
CAMERA_2 = (0.0598, -0.0004, 0.0027)


class Pose:
    def __init__(self, matrix):
        self.matrix = matrix

    def lookup(self, target_frame, target_ns, source_frame, source_ns):
        return self.matrix


@pytest.fixture(scope='module')
def lidar_to_camera():
    lines = (line.partition(':') for line in (DRIVE / 'calib.txt').read_text().splitlines())
    rows = {name: np.array(values.split(), float) for name, _, values in lines if not name.startswith('#') and values}
    rotation, velodyne = np.eye(4), np.eye(4)
    rotation[:3, :3] = rows['R_rect_00'].reshape(3, 3)
    rotation[:3, 3] = CAMERA_2
    velodyne[:3] = rows['Tr_velo_to_cam'].reshape(3, 4)
    return rotation @ velodyne


@pytest.fixture(scope='module', params=FRAMES)
def measure(request, make_header, lidar_to_camera):
    points = np.fromfile(DRIVE / 'velodyne' / f'{request.param}.bin', '<f4').reshape(-1, 4)[:, :3].copy()
    height, width = cv2.imread(str(DRIVE / 'image_02' / f'{request.param}.jpg'), cv2.IMREAD_GRAYSCALE).shape
    camera = CameraModel(width, height, 721.5377, 721.5377, 609.5593, 172.854)
    message = SimpleNamespace(header=make_header(), data=array('B'))
    fill_point_cloud(message, points, point_field_type=SimpleNamespace)

    def run(**parameters):
        source = make_source('points', {'max_samples': 10**6} | parameters)
        view = View(np.zeros((height, width), np.float32), camera=camera, transforms=Pose(lidar_to_camera))
        return source.measure(source.read('scale_reference', message), view)

    run.points = transform_points(lidar_to_camera, points)
    run.camera = camera
    return run


def below_camera(samples):
    """Metres down from the camera, of each sample."""
    return (samples.pixels[:, 1] - 172.854) / 721.5377 * samples.depth_m


def test_the_road_lies_where_the_camera_of_this_car_has_it(measure):
    """The cameras of KITTI's car are 1.65 m above the road (Geiger et al. 2013)."""
    down = below_camera(measure())
    counts, edges = np.histogram(down, np.arange(1.0, 2.5, 0.05))
    assert edges[np.argmax(counts)] + 0.025 == pytest.approx(1.65, abs=0.15)


def test_removal_takes_few_points_and_most_of_the_mixture_of_near_and_far(measure):
    every, seen = measure(occlusion=0.0), measure()
    assert 0.9 < len(seen.depth_m) / len(every.depth_m) < 0.99
    assert disagreement(seen) < 0.4 * disagreement(every)


def test_the_road_stays_but_for_what_cars_hide(measure):
    every, seen = measure(occlusion=0.0), measure()

    def on_road(samples):
        u, down = samples.pixels[:, 0], below_camera(samples)
        return np.sum((np.abs(down - 1.65) < 0.1) & (np.abs(u - 609) < 300) & (samples.depth_m < 25))

    assert on_road(every) > 300
    assert on_road(seen) > 0.93 * on_road(every)


def test_what_is_left_is_a_subset_of_the_cloud(measure):
    seen = measure(max_samples=1000)
    front = measure.points[measure.points[:, 2] > 0.1]
    whole = {tuple(row) for row in np.round(np.column_stack([measure.camera.project(front), front[:, 2]]), 1)}
    found = {tuple(row) for row in np.round(np.column_stack([seen.pixels, seen.depth_m]), 1)}
    assert len(found - whole) <= 20  # rounded float32


def disagreement(samples):
    """Share of points with a neighbour in the same 3 px whose depth is a quarter more or less."""
    cell = (samples.pixels / 3).astype(int) @ (1, 10_000)
    order = np.lexsort((samples.depth_m, cell))
    cell, depth = cell[order], samples.depth_m[order]
    return np.mean((cell[1:] == cell[:-1]) & (depth[1:] > 1.25 * depth[:-1]))
