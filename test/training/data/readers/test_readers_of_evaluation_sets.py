"""The sets to evaluate on, each in its layout on disk: numbers, units, sky, holes, splits and what is refused."""

import sys

import h5py
import numpy as np
import pytest

from training.data.readers.da2k import Da2k
from training.data.readers.ddad import Ddad, project_nearest
from training.data.readers.diode import Diode
from training.data.readers.eth3d import Eth3d
from training.data.readers.kitti import Kitti
from training.data.readers.nyu import Nyu
from training.data.readers.sintel import Sintel
from training.errors import BadSampleError, DataError, RecipeError, TrainingError

RAMP = np.linspace(1, 20, 24 * 32, dtype=np.float32).reshape(24, 32)


def keys(data):
    return [data.key(index) for index in range(len(data))]


# NYU Depth v2


def nyu(layout, count=4):
    """As MATLAB 7.3 writes it: axes in opposite order, names as references to arrays of 16-bit characters."""
    images = np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3), np.uint8)
    raw = np.stack([RAMP + index for index in range(count)])
    filled = raw.copy()
    raw[:, 0, :5] = 0
    with h5py.File(layout.root / 'nyu_depth_v2_labeled.mat', 'w') as file:
        file['images'] = images.transpose(0, 3, 2, 1)
        file['rawDepths'] = raw.transpose(0, 2, 1)
        file['depths'] = filled.transpose(0, 2, 1)
        scenes = file.create_dataset('scenes', (1, count), h5py.ref_dtype)
        for index in range(count):
            name = file.create_dataset(
                f'#refs#/{index}', data=np.frombuffer(f'kitchen_{index}'.encode('utf-16-le'), '<u2')
            )
            scenes[0, index] = name.ref
    return images


def test_nyu_is_upright_and_its_raw_depth_has_holes(layout):
    images = nyu(layout)
    data = Nyu(layout.root)
    assert keys(data) == ['0001', '0002', '0003', '0004']
    found = data[1]
    assert np.array_equal(found.image, images[1])
    assert np.isnan(found.depth[0, :5]).all()
    assert np.array_equal(found.depth[1:], RAMP[1:] + 1)
    assert found.meta['scene'] == 'kitchen_1'
    assert found.meta['K'][0][0] == pytest.approx(518.857901 / 20)
    assert np.array_equal(Nyu(layout.root, depth='depths')[1].depth, RAMP + 1)


def test_nyu_takes_the_split_of_the_official_file_counted_from_one(layout):
    io = pytest.importorskip('scipy.io', reason='writes the MATLAB 5 file of the splits')
    nyu(layout)
    indices = {'trainNdxs': np.array([[1], [4]], np.uint16), 'testNdxs': np.array([[2], [3]], np.uint16)}
    io.savemat(layout.root / 'splits.mat', indices, do_compression=True)
    assert keys(Nyu(layout.root, 'test')) == ['0002', '0003']
    assert keys(Nyu(layout.root, 'train')) == ['0001', '0004']
    assert len(Nyu(layout.root)) == 4
    with pytest.raises(RecipeError, match='give the split, train or test'):
        Nyu(layout.root, splits_file='splits.mat')


def test_nyu_takes_a_list_of_numbers_without_scipy(layout, monkeypatch):
    nyu(layout)
    layout.text('test.txt', '# Eigen', '2', '4')
    layout.write('splits.mat', b'x')
    monkeypatch.setitem(sys.modules, 'scipy.io', None)
    listed = Nyu(layout.root, splits_file='test.txt')
    assert keys(listed) == keys(Nyu(layout.root, 'test', splits_file='test.txt')) == ['0002', '0004']
    assert listed.fingerprint != Nyu(layout.root).fingerprint
    with pytest.raises(DataError, match=r'absent\.txt'):
        Nyu(layout.root, splits_file='absent.txt')
    with pytest.raises(TrainingError, match=r'needs scipy.*splits_file=FILE\.txt'):
        Nyu(layout.root, 'test')
    for line, message in (('0', 'counted from 1'), ('5', 'image 5 of 4'), ('two', 'no list of images')):
        layout.text('test.txt', line)
        with pytest.raises(DataError, match=message):
            Nyu(layout.root, 'test', splits_file='test.txt')


def test_nyu_refuses_a_file_that_is_not_it(layout):
    with pytest.raises(DataError, match='no such file'):
        Nyu(layout.root)
    nyu(layout)
    with pytest.raises(DataError, match="has no 'depth': use rawDepths"):
        Nyu(layout.root, depth='depth')
    layout.cut('nyu_depth_v2_labeled.mat')
    with pytest.raises(DataError, match='no whole HDF5'):
        Nyu(layout.root)
    layout.hdf5('nyu_depth_v2_labeled.mat', labels=RAMP)
    with pytest.raises(DataError, match='no `images`'):
        Nyu(layout.root)


# KITTI

DRIVES = {'train': '2011_09_26_drive_0009_sync', 'val': '2011_09_26_drive_0002_sync'}


def kitti(layout, subset, frame, camera='image_02', depth=True):
    drive = DRIVES[subset]
    layout.image(f'raw/2011_09_26/{drive}/{camera}/data/{frame:010d}.png')
    levels = np.zeros((24, 32), np.uint16)
    levels[10, 5:7] = 256 * 12, 1
    if depth:
        layout.png(f'data_depth_annotated/{subset}/{drive}/proj_depth/groundtruth/{camera}/{frame:010d}.png', levels)


def test_kitti_has_sparse_depth_in_256ths_of_a_metre(layout):
    kitti(layout, 'val', 69)
    kitti(layout, 'train', 5)
    kitti(layout, 'train', 5, 'image_03')
    layout.text(
        'raw/2011_09_26/calib_cam_to_cam.txt',
        'calib_time: 09-Jan-2012 13:57:47',
        'P_02: 1 2 3 4 5 6 7 8 9 10 11 12',
        'P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 0 0 1 2.7e-03',
    )
    found = Kitti(layout.root, 'val')[0]
    assert np.isfinite(found.depth).sum() == 2
    assert np.array_equal(found.depth[10, 5:7], [12, 1 / 256])
    assert found.meta['K'] == [[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]]
    assert found.meta['scene'] == '2011_09_26_drive_0002_sync/image_02'
    assert (len(Kitti(layout.root)), len(Kitti(layout.root, 'train'))) == (2, 1)
    assert len(Kitti(layout.root, cameras=['image_02', 'image_03'])) == 3
    with pytest.raises(RecipeError, match=r"cameras: 'image_3' is none of image_02, image_03"):
        Kitti(layout.root, cameras=['image_02', 'image_3'])
    # As a tool writes it that knows 8 bits only.
    (png,) = (layout.root / 'data_depth_annotated/val').rglob('*.png')
    layout.png(str(png.relative_to(layout.root)), np.full((24, 32), 9, np.uint8))
    with pytest.raises(BadSampleError, match='8 bits a pixel, where the unit needs 16'):
        Kitti(layout.root, 'val')[0]


def test_kitti_lists_of_every_common_form_find_their_depth_in_either_part(layout):
    kitti(layout, 'val', 69)
    kitti(layout, 'train', 5)
    kitti(layout, 'train', 7, depth=False)
    day, val, train = '2011_09_26', DRIVES['val'], DRIVES['train']
    truth = 'proj_depth/groundtruth/image_02'
    lists = {
        'bts.txt': (
            f'{day}/{val}/image_02/data/0000000069.png {val}/{truth}/0000000069.png 721.5377',
            f'{day}/{train}/image_02/data/0000000005.png {train}/{truth}/0000000005.png 721.5377',
            f'{day}/{train}/image_02/data/0000000007.png None 721.5377',
        ),
        'monodepth.txt': (f'{day}/{val} 69 l', f'{day}/{train} 0000000005 l'),
        'absolute.txt': (
            f'/data/kitti/raw/{day}/{val}/image_02/data/0000000069.png /data/x/val/{val}/{truth}/0000000069.png',
            f'/data/kitti/raw/{day}/{train}/image_02/data/0000000005.png /data/x/train/{train}/{truth}/0000000005.png',
        ),
    }
    prints = set()
    for name, lines in lists.items():
        # The order of a list makes no difference.
        layout.text(name, *(reversed(lines) if name == 'monodepth.txt' else lines))
        data = Kitti(layout.root, list=name)
        assert [data[index].depth[10, 5] for index in range(len(data))] == [12, 12]
        prints.add(data.fingerprint)
    assert len(prints) == 1
    # Without calibration there is no K.
    assert 'K' not in data[0].meta


def test_kitti_an_image_without_depth_counts_as_bad_and_a_strange_line_is_refused(layout):
    kitti(layout, 'train', 7, depth=False)
    layout.text('list.txt', f'2011_09_26/{DRIVES["train"]} 7 l')
    with pytest.raises(BadSampleError, match=r'no depth of this image: .*train.* and .*val.* are not there'):
        Kitti(layout.root, list='list.txt')[0]
    layout.text('list.txt', 'city/0000000005.png')
    with pytest.raises(DataError, match='names no image of KITTI'):
        Kitti(layout.root, list='list.txt')
    kitti(layout, 'train', 8)
    layout.text('raw/2011_09_26/calib_cam_to_cam.txt', 'P_rect_02: 1 2 x')
    with pytest.raises(BadSampleError, match='no P_rect_02'):
        Kitti(layout.root)[0]


# Sintel


def test_sintel_final_and_clean_with_the_sky_at_infinity(layout):
    depth = RAMP.copy()
    depth[0, :2] = 1e5, 9999
    tag = np.float32(202021.25).tobytes()
    matrix = np.array([[1120.0, 0, 511.5], [0, 1120, 217.5], [0, 0, 1]])
    for frame in (1, 2):
        for kind in ('final', 'clean'):
            layout.image(f'training/{kind}/alley_1/frame_{frame:04d}.png', seed=ord(kind[0]))
        layout.write(
            f'training/depth/alley_1/frame_{frame:04d}.dpt', tag + np.int32([32, 24]).tobytes() + depth.tobytes()
        )
        layout.write(f'training/camdata_left/alley_1/frame_{frame:04d}.cam', tag + matrix.tobytes() + bytes(96))
    data = Sintel(layout.root)
    assert keys(data) == ['training/final/alley_1/frame_0001', 'training/final/alley_1/frame_0002']
    found = data[0]
    assert np.array_equal(found.depth[0, :2], [np.inf, 9999])
    assert np.array_equal(found.depth[1:], RAMP[1:])
    assert (found.meta['scene'], found.meta['K']) == ('alley_1', matrix.tolist())
    assert not np.array_equal(Sintel(layout.root, 'clean')[0].image, found.image)
    layout.cut('training/depth/alley_1/frame_0002.dpt', 0.9)
    with pytest.raises(BadSampleError, match='32x24 float32 are expected'):
        data[1]


# ETH3D


def test_eth3d_is_bare_floats_whose_infinity_is_unknown(layout):
    depth = RAMP.copy()
    depth[0] = np.inf
    layout.image('courtyard/images/dslr_images/DSC_0286.JPG')
    layout.raw('courtyard/ground_truth_depth/dslr_images/DSC_0286.JPG', depth)
    data = Eth3d(layout.root)
    found = data[0]
    assert np.isnan(found.depth[0]).all()
    assert np.array_equal(found.depth[1:], RAMP[1:])
    assert found.meta['scene'] == 'courtyard'
    layout.raw('courtyard/ground_truth_depth/dslr_images/DSC_0286.JPG', depth[1:])
    with pytest.raises(BadSampleError, match='32x24 float32 are expected'):
        data[0]


# DIODE


def test_diode_depth_counts_where_its_mask_does(layout):
    depth = RAMP.astype(np.float32)[..., None]
    mask = np.ones((24, 32))
    mask[0] = 0
    stems = ('val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010', 'val/outdoor/scene_1/scan_2/x')
    for stem in (*stems, 'train/outdoor/scene_1/scan_2/y'):
        layout.image(f'{stem}.png')
        layout.npy(f'{stem}_depth.npy', depth)
        layout.npy(f'{stem}_depth_mask.npy', mask)
    data = Diode(layout.root, 'val')
    assert keys(data) == list(stems)
    found = data[0]
    assert np.isnan(found.depth[0]).all()
    assert np.array_equal(found.depth[1:], RAMP[1:])
    assert found.meta['scene'] == 'indoors/scene_00019/scan_00183'
    assert keys(Diode(layout.root, 'val', where=['outdoor'])) == [stems[1]]
    assert len(Diode(layout.root)) == 3
    with pytest.raises(RecipeError, match="'outdoors' is none of indoors, outdoor"):
        Diode(layout.root, where=['indoors', 'outdoors'])
    layout.npy(f'{stems[0]}_depth_mask.npy', mask[:5])
    with pytest.raises(BadSampleError, match='the mask has shape'):
        data[0]


# DDAD


def pose(translation, quaternion):
    return {
        'rotation': dict(zip(('qx', 'qy', 'qz', 'qw'), quaternion, strict=True)),
        'translation': dict(zip('xyz', translation, strict=True)),
    }


def ddad(layout):
    """A camera 1 m above the ground of a car at (100, 50, 0) looking along x, and a LiDAR 0.5 m above it."""
    # Columns: where the camera's right, down and forward lie in the world: -y, -z, x.
    looking_ahead = (-0.5, 0.5, -0.5, 0.5)
    image = {'filename': 'rgb/CAMERA_01/1.png', 'height': 24, 'width': 32}
    data = [
        {
            'key': 'c',
            'id': {'name': 'CAMERA_01'},
            'datum': {'image': {**image, 'pose': pose((100, 50, 1), looking_ahead)}},
        },
        {
            'key': 'l',
            'id': {'name': 'LIDAR'},
            'datum': {
                'point_cloud': {'filename': 'point_cloud/LIDAR/1.npz', 'pose': pose((100, 50, 1.5), (0, 0, 0, 1))}
            },
        },
    ]
    samples = [{'calibration_key': 'k', 'datum_keys': ['c', 'l']}]
    layout.json('000150/scene_a.json', {'data': data, 'samples': samples})
    intrinsics = [dict.fromkeys(('fx', 'fy', 'cx', 'cy'), 0.0), {'fx': 20.0, 'fy': 20.0, 'cx': 16.0, 'cy': 12.0}]
    layout.json('000150/calibration/k.json', {'names': ['LIDAR', 'CAMERA_01'], 'intrinsics': intrinsics})
    layout.json('ddad.json', {'scene_splits': {'0': {'filenames': []}, '1': {'filenames': ['000150/scene_a.json']}}})
    layout.image('000150/rgb/CAMERA_01/1.png')
    # Straight ahead 10 m; behind it 20 m; 2 m to the left and 0.8 m below the camera at 8 m; behind the car.
    points = np.array([[10, 0, -0.5, 0.3], [20, 0, -0.5, 0], [8, 2, -1.3, 0.1], [-9, 0, 0, 0], [np.nan, 0, 0, 0]])
    layout.write('000150/point_cloud/LIDAR/1.npz', b'')
    np.savez(layout.root / '000150/point_cloud/LIDAR/1.npz', data=points)


def test_ddad_projects_the_sweep_with_the_nearest_point_in_front(layout):
    ddad(layout)
    found = Ddad(layout.root, 'val')[0]
    rows, columns = np.nonzero(np.isfinite(found.depth))
    # 20 px * 2 m / 8 m = 5 columns to the left, 20 px * 0.8 m / 8 m = 2 rows below.
    assert {*zip(rows, columns, found.depth[rows, columns], strict=True)} == {(12, 16, 10.0), (14, 11, 8.0)}
    assert found.meta['K'] == [[20, 0, 16], [0, 20, 12], [0, 0, 1]]
    assert found.meta['scene'] == '000150/CAMERA_01'
    assert len(Ddad(layout.root)) == 1
    with pytest.raises(DataError, match="no scene has a camera 'CAMERA_1'"):
        Ddad(layout.root, cameras=['CAMERA_01', 'CAMERA_1'])
    with pytest.raises(DataError, match="of the split 'train'"):
        Ddad(layout.root, 'train')


def test_ddad_a_point_at_the_border_is_in_the_image_or_not():
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    points = np.array([[3.4, 1.4, 1.0], [3.6, 0, 1], [0, -0.6, 1], [-0.4, 0, 1], [0, 0, 0], [-2, -1, -1]])
    depth = project_nearest(points, matrix, (2, 4))
    assert np.array_equal(np.argwhere(np.isfinite(depth)), [[0, 0], [1, 3]])


def test_ddad_reads_lists_and_refuses_what_is_no_dgp(layout):
    layout.image('rgb/a.png')
    layout.npy('depth/a.npy', RAMP)
    layout.text('val.txt', 'rgb/a.png depth/a.npy')
    assert np.array_equal(Ddad(layout.root, list='val.txt')[0].depth, RAMP)
    layout.text('val.txt', 'rgb/a.png')
    with pytest.raises(DataError, match=r'expected `image depth\.npy`'):
        Ddad(layout.root, list='val.txt')
    with pytest.raises(DataError, match=r'ddad\.json: no such file'):
        Ddad(layout.root)
    layout.json('ddad.json', {'scenes': []})
    with pytest.raises(DataError, match='no data set of DGP'):
        Ddad(layout.root)
    ddad(layout)
    data = Ddad(layout.root)
    layout.cut('000150/point_cloud/LIDAR/1.npz')
    with pytest.raises(BadSampleError, match='no whole sweep'):
        data[0]
    layout.json('000150/calibration/k.json', {'names': []})
    with pytest.raises(DataError, match=r'scene_a\.json is no scene of DGP'):
        Ddad(layout.root)


# DA-2K


def test_da2k_pairs_have_the_nearer_point_first_whatever_the_file_says(layout):
    layout.image('images/indoor/a.jpg')
    pairs = [
        {'point1': [3, 30], 'point2': [20, 5], 'closer_point': 'point1'},
        {'point1': [1, 2], 'point2': [23, 31], 'closer_point': 'point2'},
    ]
    layout.json('annotations.json', {'./images/indoor/a.jpg': pairs})
    found = Da2k(layout.root)[0]
    assert found.key == 'images/indoor/a'
    assert found.meta['pairs'] == [[3, 30, 20, 5], [23, 31, 1, 2]]
    assert found.meta['category'] == 'indoor'
    assert found.depth is None


def test_da2k_refuses_points_outside_and_annotations_of_another_form(layout):
    layout.image('images/indoor/a.jpg')
    pair = {'point1': [3, 30], 'point2': [20, 5], 'closer_point': 'point1'}
    for wrong in ({'point1': [30, 3]}, {'point2': [-1, 3]}, {'point1': [24, 0]}, {'point1': [0, 32]}):
        layout.json('annotations.json', {'images/indoor/a.jpg': [{**pair, **wrong}]})
        with pytest.raises(BadSampleError, match='not in the image 32x24'):
            Da2k(layout.root)[0]
    for wrong in ({'closer_point': 'first'}, {'point1': [3]}, {'point2': None}):
        layout.json('annotations.json', {'images/indoor/a.jpg': [{**pair, **wrong}]})
        with pytest.raises(DataError, match='a pair cannot be read'):
            Da2k(layout.root)
    layout.json('annotations.json', [pair])
    with pytest.raises(DataError, match='a JSON list and no object'):
        Da2k(layout.root)
