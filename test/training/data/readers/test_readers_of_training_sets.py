"""The labelled training sets, each in its layout on disk: numbers, units, sky, holes, splits and what is refused."""

import numpy as np
import pytest

from training.data.readers.blendedmvs import BlendedMvs
from training.data.readers.diml import Diml
from training.data.readers.hrwsi import Hrwsi
from training.data.readers.hypersim import Hypersim
from training.data.readers.irs import Irs
from training.data.readers.megadepth import MegaDepth
from training.data.readers.tartanair import TartanAir
from training.data.readers.vkitti2 import VirtualKitti2
from training.errors import BadSampleError, DataError, RecipeError

RAMP = np.linspace(1, 20, 24 * 32, dtype=np.float32).reshape(24, 32)


def keys(data):
    return [data.key(index) for index in range(len(data))]


# Hypersim


def hypersim(layout, scene, camera, frame, distance):
    images = f'{scene}/images/scene_{camera}'
    layout.image(f'{images}_final_preview/frame.{frame:04d}.tonemap.jpg', distance.shape)
    layout.image(f'{images}_final_preview/frame.{frame:04d}.gamma.jpg', distance.shape)
    layout.hdf5(f'{images}_geometry_hdf5/frame.{frame:04d}.depth_meters.hdf5', dataset=distance)


def rays(height=24, width=32):
    """Through pixels of a camera with Hypersim's field of view, with 1 along the optical axis."""
    focal = 886.81 * width / 1024
    y, x = np.mgrid[:height, :width]
    return np.dstack([(x - (width - 1) / 2) / focal, (y - (height - 1) / 2) / focal, np.ones((height, width))])


def test_hypersim_a_wall_in_front_of_the_camera_is_planar_though_its_distance_is_not(layout):
    distance = (3 * np.linalg.norm(rays(), axis=2)).astype(np.float32)
    distance[0, :2] = np.nan, np.inf
    hypersim(layout, 'ai_001_001', 'cam_00', 7, distance)
    found = Hypersim(layout.root)[0]
    assert distance[-1, -1] > 3.3
    assert np.isnan(found.depth[0, :2]).all()
    assert np.allclose(found.depth[1:], 3, atol=1e-5)
    assert found.meta['scene'] == 'ai_001_001/scene_cam_00'
    # A pixel's ray by K is the one that the distance was made with.
    assert np.allclose(np.linalg.inv(found.meta['K']) @ [31, 23, 1], rays()[23, 31], atol=1e-6)


def test_hypersim_a_slanted_floor_stays_flat(layout):
    normal, offset = np.array([0.1, 0.9, 0.3]), 2.0
    z = offset / (rays() @ normal)
    distance = np.where(z > 0, z * np.linalg.norm(rays(), axis=2), np.nan).astype(np.float32)
    hypersim(layout, 'ai_001_001', 'cam_00', 0, distance)
    found = Hypersim(layout.root)[0]
    points = rays() * found.depth[..., None]
    seen = np.isfinite(found.depth)
    assert seen.any()
    assert np.allclose(points[seen] @ normal, offset, rtol=1e-5)


def test_hypersim_takes_the_split_of_the_official_list(layout):
    for scene, camera, frame in (('ai_001_001', 'cam_00', 0), ('ai_001_001', 'cam_00', 1), ('ai_002_001', 'cam_01', 0)):
        hypersim(layout, scene, camera, frame, RAMP)
    with pytest.raises(DataError, match=r'metadata_images_split_scene_v1\.csv: no such file'):
        Hypersim(layout.root, 'train')
    columns = 'scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,split_partition_name'
    layout.text(
        'metadata_images_split_scene_v1.csv',
        columns,
        'ai_001_001,cam_00,0,True,,train',
        'ai_001_001,cam_00,1,False,camera in an object,train',
        'ai_002_001,cam_01,0,True,,val',
    )
    assert len(Hypersim(layout.root)) == 3
    assert keys(Hypersim(layout.root, 'train')) == [
        'ai_001_001/images/scene_cam_00_final_preview/frame%2E0000%2Etonemap'
    ]
    assert len(Hypersim(layout.root, 'val')) == 1
    with pytest.raises(DataError, match="no samples of hypersim of the split 'test'"):
        Hypersim(layout.root, 'test')
    with pytest.raises(RecipeError, match='no split'):
        Hypersim(layout.root, 'training')
    layout.text('other.csv', 'a,b', '1,2')
    with pytest.raises(DataError, match='not the official list'):
        Hypersim(layout.root, 'train', split_file='other.csv')
    with pytest.raises(DataError, match='none is given'):
        Hypersim(layout.root, split_file='other.csv')


# Virtual KITTI 2


def test_vkitti2_is_in_centimetres_and_its_far_plane_is_the_sky(layout):
    levels = (RAMP * 100).astype(np.uint16)
    levels[0, :3] = 65535, 65534, 0
    for camera in (0, 1):
        frames = 'Scene01/15-deg-left/frames'
        layout.image(f'{frames}/rgb/Camera_{camera}/rgb_00003.jpg')
        layout.png(f'{frames}/depth/Camera_{camera}/depth_00003.png', levels)
    data = VirtualKitti2(layout.root)
    assert keys(data) == ['Scene01/15-deg-left/frames/rgb/Camera_0/rgb_00003']
    found = data[0]
    assert np.array_equal(found.depth[0, :3], np.float32([np.inf, 655.34, np.nan]), equal_nan=True)
    assert np.allclose(found.depth[1:], RAMP[1:], atol=0.01)
    assert found.target_disparity()[0, 0] == 0
    assert found.meta['scene'] == 'Scene01/15-deg-left/Camera_0'
    assert found.meta['K'][0][0] == pytest.approx(725.0087 * 32 / 1242)
    assert len(VirtualKitti2(layout.root, cameras=['Camera_0', 'Camera_1'])) == 2
    with pytest.raises(RecipeError, match="'Camera_2' is none of Camera_0, Camera_1"):
        VirtualKitti2(layout.root, cameras=['Camera_2'])


def test_vkitti2_takes_the_images_of_a_list_from_another_machine(layout):
    for variant in ('clone', 'fog'):
        for number in (0, 1):
            frames = f'Scene20/{variant}/frames'
            layout.image(f'{frames}/rgb/Camera_0/rgb_{number:05d}.jpg')
            layout.png(f'{frames}/depth/Camera_0/depth_{number:05d}.png', np.full((24, 32), 100 + number, np.uint16))
    above = '/mnt/bn/vKitti2/Scene20/fog/frames'
    layout.text('train.txt', f'{above}/rgb/Camera_0/rgb_00001.jpg {above}/depth/Camera_0/depth_00001.png')
    data = VirtualKitti2(layout.root, list='train.txt')
    assert keys(data) == ['Scene20/fog/frames/rgb/Camera_0/rgb_00001']
    assert np.allclose(data[0].depth, 1.01)
    assert data[0].meta['scene'] == 'Scene20/fog/Camera_0'
    layout.text('other.txt', 'fog/rgb_00001.jpg')
    with pytest.raises(DataError, match=r'other.txt: a line names no image of Virtual KITTI 2: .fog/rgb_00001.jpg'):
        VirtualKitti2(layout.root, list='other.txt')


# TartanAir


def test_tartanair_in_both_layouts_with_the_sky_beyond_the_threshold(layout):
    depth = RAMP.copy()
    depth[0, :3] = 10000, 65504, 9999
    folders = ('office/Easy/P001', 'amusement/Hard/P000', 'ocean/ocean/Hard/P002')
    for folder in folders:
        layout.image(f'{folder}/image_left/000000_left.png')
        layout.image(f'{folder}/image_right/000000_right.png')
        layout.npy(f'{folder}/depth_left/000000_left_depth.npy', depth)
    data = TartanAir(layout.root)
    assert [data[index].meta['scene'] for index in range(3)] == sorted(folders)
    assert np.array_equal(data[0].depth[0, :3], [np.inf, np.inf, 9999])
    assert np.array_equal(data[0].depth[1:], RAMP[1:])
    assert np.isinf(TartanAir(layout.root, sky_threshold=1000)[0].depth[0, :3]).all()
    assert len(TartanAir(layout.root, 'Hard')) == 2
    assert keys(TartanAir(layout.root, 'Hard', exclude=['amusement'])) == [
        'ocean/ocean/Hard/P002/image_left/000000_left'
    ]
    with pytest.raises(DataError, match="no environment 'amusment' to exclude"):
        TartanAir(layout.root, exclude=['amusement', 'amusment'])
    with pytest.raises(DataError, match='no samples'):
        TartanAir(layout.root / 'amusement', exclude=['amusement'])
    # One flight alone.
    assert TartanAir(layout.root / 'office/Easy/P001')[0].meta['scene'] == ''


# BlendedMVS


def blendedmvs(layout, scene, number, depth, order='<'):
    layout.image(f'{scene}/blended_images/{number:08d}.jpg')
    layout.image(f'{scene}/blended_images/{number:08d}_masked.jpg')
    layout.pfm(f'{scene}/rendered_depth_maps/{number:08d}.pfm', depth, order)
    layout.text(
        f'{scene}/cams/{number:08d}_cam.txt',
        'extrinsic',
        *['1 0 0 0.5'] * 3,
        '0 0 0 1',
        '',
        'intrinsic',
        '570.5 0 384.25',
        '0 571.5 288.75',
        '0 0 1',
        '',
        '1.5 0.02 128 5.2',
    )


def test_blendedmvs_is_in_a_unit_of_its_own_with_holes(layout):
    depth = RAMP.copy()
    depth[:3] = 0
    blendedmvs(layout, '5a3ca9cb270f0e3f14d0eddb', 0, depth)
    blendedmvs(layout, '5b6eff8b67b396324c5b2672', 0, depth, '>')
    blendedmvs(layout, '5b6eff8b67b396324c5b2672', 1, np.zeros_like(RAMP))
    data = BlendedMvs(layout.root)
    assert len(data) == 3
    for found in (data[0], data[1]):
        assert np.isnan(found.depth[:3]).all()
        assert np.array_equal(found.depth[3:], RAMP[3:])
        assert found.meta['scale'] == 'arbitrary'
        assert found.meta['K'] == [[570.5, 0, 384.25], [0, 571.5, 288.75], [0, 0, 1]]
    with pytest.raises(BadSampleError, match='no depth is known'):
        data[2]
    layout.text('BlendedMVS_training.txt', '5b6eff8b67b396324c5b2672')
    assert len(BlendedMvs(layout.root, scenes='BlendedMVS_training.txt')) == 2
    assert len(BlendedMvs(layout.root, scenes=str(layout.root / 'BlendedMVS_training.txt'))) == 2
    layout.text('empty.txt', '# none', '')
    with pytest.raises(DataError, match='list is empty'):
        BlendedMvs(layout.root, scenes='empty.txt')
    layout.text('5a3ca9cb270f0e3f14d0eddb/cams/00000000_cam.txt', 'extrinsic', '1 0 0 0')
    with pytest.raises(BadSampleError, match='no intrinsic matrix'):
        data[0]


# IRS


def test_irs_has_disparity_that_is_larger_where_it_is_nearer(layout):
    disparity = RAMP.copy()
    disparity[0, :2] = 0, np.nan
    layout.image('Home/AV01/l_1.png')
    layout.exr('Home/AV01/d_1.exr', G=disparity)
    layout.image('Store/Shop/l_2.png', seed=1)
    layout.exr('Store/Shop/d_2.exr', R=RAMP, G=RAMP, B=RAMP)
    layout.image('Store/Shop/r_2.png')
    data = Irs(layout.root)
    assert keys(data) == ['Home/AV01/l_1', 'Store/Shop/l_2']
    assert data[0].depth is None
    assert np.isnan(data[0].disparity[0, :2]).all()
    assert np.array_equal(data[0].target_disparity()[1:], RAMP[1:])
    assert np.array_equal(data[1].disparity, RAMP)
    line = 'Store/Shop/l_2.png Store/Shop/r_2.png Store/Shop/d_2.exr Store/Shop/n_2.exr'
    layout.text('lists/store_train.list', line)
    listed = Irs(layout.root, list='lists/store_train.list')
    assert keys(listed) == ['Store/Shop/l_2']
    assert np.array_equal(listed[0].disparity, RAMP)
    layout.text('short.list', 'Store/Shop/l_2.png')
    with pytest.raises(DataError, match='expected `left right disparity normal`'):
        Irs(layout.root, list='short.list')


@pytest.mark.parametrize('factor', [-1, 10])
def test_irs_what_cannot_be_a_disparity_in_pixels_is_refused(layout, factor):
    layout.image('Home/AV01/l_1.png')
    layout.exr('Home/AV01/d_1.exr', G=RAMP * np.float32(factor))
    with pytest.raises(BadSampleError, match='expected a disparity of 0 to 32 pixels'):
        Irs(layout.root)[0]


# DIML


def test_diml_indoor_and_outdoor_in_both_releases(layout):
    millimetres = (RAMP * 1000).astype(np.uint16)
    millimetres[0, 0] = 0
    confidence = np.full((24, 32), 255, np.uint8)
    confidence[1, :3] = 0, 150, 160
    indoor, outdoor = 'indoor/16. Billiard Hall/160325/1', 'outdoor/170721_C0/A'
    layout.image(f'{indoor}/col/in_00_160325_000001_c.png')
    layout.png(f'{indoor}/up_png/in_00_160325_000001_ud.png', millimetres)
    layout.image('sample/Church/color/in_k_01_000002_c.png')
    layout.png('sample/Church/depth_filled/in_k_01_000002_depth_filled.png', millimetres)
    layout.image(f'{outdoor}/left/000003_left.png')
    layout.png(f'{outdoor}/depth/000003_depth.png', millimetres)
    layout.png(f'{outdoor}/conf/000003_conf.png', confidence)
    layout.image('sample/LR/outleft/000004.png')
    layout.png('sample/LR/depthmap/000004.png', millimetres)
    layout.png('sample/LR/confidencemap/000004.png', confidence)
    inside, outside = Diml(layout.root, 'indoor'), Diml(layout.root, 'outdoor')
    assert (len(inside), len(outside), len(Diml(layout.root))) == (2, 2, 4)
    for data in (inside, outside):
        for found in (data[0], data[1]):
            assert np.isnan(found.depth[0, 0])
            assert np.allclose(found.depth[2:], RAMP[2:], atol=0.001)
    assert np.isfinite(inside[0].depth[1, :3]).all()
    # 150 / 255 is below 0.6, 160 / 255 is not.
    for index in (0, 1):
        assert np.array_equal(np.isfinite(outside[index].depth[1, :3]), [False, False, True])
    assert np.isfinite(Diml(layout.root, 'outdoor', confidence=0)[0].depth[1, :3]).all()
    layout.image(f'{indoor}/col/in_00_160325_000009_c.png')
    with pytest.raises(BadSampleError, match='no depth of this image'):
        Diml(layout.root, 'indoor')[1]
    (layout.root / outdoor / 'conf/000003_conf.png').unlink()
    with pytest.raises(BadSampleError, match='no confidence'):
        Diml(layout.root, 'outdoor')[0]
    layout.image(f'{outdoor}/left/000003_right.png')
    with pytest.raises(DataError, match='are both of frame 000003'):
        Diml(layout.root, 'outdoor')


# HR-WSI


def test_hrwsi_has_disparity_where_its_mask_is_valid(layout):
    levels = np.uint8(RAMP * 10)
    mask = np.full((24, 32), 255, np.uint8)
    mask[:2] = 0
    for split, name in (('train', 'a1'), ('train', 'a2'), ('val', 'b')):
        layout.image(f'{split}/imgs/{name}.jpg')
        layout.png(f'{split}/gts/{name}.png', levels)
        layout.png(f'{split}/valid_masks/{name}.png', mask)
    assert (len(Hrwsi(layout.root, 'train')), len(Hrwsi(layout.root, 'val')), len(Hrwsi(layout.root))) == (2, 1, 3)
    found = Hrwsi(layout.root, 'val')[0]
    assert np.isnan(found.disparity[:2]).all()
    assert np.array_equal(found.target_disparity()[2:], levels[2:])
    layout.png('val/valid_masks/b.png', mask[:, :5])
    with pytest.raises(BadSampleError, match=r'valid_masks/b\.png: the mask has shape'):
        Hrwsi(layout.root, 'val')[0]


# MegaDepth


def test_megadepth_has_depth_in_a_unit_of_its_own_and_orders_are_refused(layout):
    depth = RAMP.copy()
    depth[:4] = 0
    order = np.where(RAMP > 10, -1, -2).astype(np.float32)
    root = 'phoenix/S6/zl548/MegaDepth_v1'
    for name, values in (('0000/dense0/{}/a_b.jpg', depth), ('0001/dense1/{}/c.JPG', order)):
        layout.image(f'{root}/{name.format("imgs")}')
        stem = name.format('depths').rsplit('.', 1)[0]
        layout.hdf5(f'{root}/{stem}.h5', depth=values)
    data = MegaDepth(layout.root)
    assert len(data) == len(MegaDepth(layout.root / root)) == 2
    found = data[0]
    assert np.isnan(found.depth[:4]).all()
    assert np.array_equal(found.depth[4:], RAMP[4:])
    assert (found.meta['scale'], found.meta['scene']) == ('arbitrary', f'{root}/0000/dense0')
    with pytest.raises(BadSampleError, match='holds an order'):
        data[1]
