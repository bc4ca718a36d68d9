"""Protocols: those that come along say what the literature does, and mistakes in one are told."""

from pathlib import Path

import numpy as np
import pytest

from training.errors import BadSampleError, RecipeError
from training.evaluation import read_protocol

PROTOCOLS = sorted((Path(__file__).parents[3] / 'config' / 'training' / 'protocols').glob('*.yaml'))


@pytest.mark.parametrize('path', PROTOCOLS, ids=lambda path: path.stem)
def test_every_protocol_is_read_and_explains_its_choices(path):
    protocol = read_protocol(path.stem)
    assert all({'abs_rel', 'delta1', 'rmse', 'da2k'} >= {*row} for row in protocol.paper.values())
    text = path.read_text()
    assert text.startswith('# ')
    assert all(value < 1.0 for row in protocol.paper.values() for name, value in row.items() if name != 'rmse')
    if protocol.paper:
        assert 'Table' in text


def test_every_data_set_of_the_papers_has_one():
    protocols = [read_protocol(path.stem) for path in PROTOCOLS]
    of_papers = {protocol.data.type for protocol in protocols if protocol.paper}
    assert of_papers == {'nyu', 'kitti', 'sintel', 'eth3d', 'diode', 'ddad', 'da2k'}


def test_the_papers_values_are_theirs():
    """V1 paper, Table 2; V2 paper, Tables 2 and 3."""
    assert read_protocol('kitti').paper['v1-large'] == {'abs_rel': 0.076, 'delta1': 0.947}
    assert read_protocol('nyu').paper['v2-small'] == {'abs_rel': 0.053, 'delta1': 0.973}
    assert read_protocol('sintel').paper['v2-giant'] == {'abs_rel': 0.506, 'delta1': 0.772}
    assert read_protocol('da2k').paper['v2-base'] == {'da2k': 0.970}
    assert [*read_protocol('ddad').paper] == ['v1-small', 'v1-base', 'v1-large']


def test_the_crops_are_those_of_eigen_and_garg():
    inside = np.zeros((480, 640), bool)
    inside[read_protocol('nyu').crop_window(480, 640)] = True
    expected = np.zeros((480, 640), bool)
    expected[45:471, 41:601] = True
    assert np.array_equal(inside, expected)
    assert read_protocol('kitti').crop_window(375, 1242) == (slice(153, 371), slice(44, 1197))
    assert read_protocol('kitti').crop_window(352, 1216) == (slice(143, 349), slice(43, 1172))
    assert read_protocol('synthetic').crop_window(7, 9) == (slice(0, 7), slice(0, 9))


def test_a_crop_in_pixels_needs_an_image_that_holds_it():
    with pytest.raises(BadSampleError, match='240 rows, 320 columns'):
        read_protocol('nyu').crop_window(240, 320)


def test_depth_that_does_not_count():
    depth = np.array([np.nan, np.inf, -1.0, 0.0, 5e-4, 0.5, 10.0, 10.1])
    assert read_protocol('nyu').valid(depth).tolist() == [False] * 5 + [True] * 2 + [False]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('max_depth: 0.0005', 'min_depth < max_depth'),
        ('clip: range', 'needs a max_depth'),
        ('crop: [1, 2, 3]', 'top, bottom, left, right'),
        ('crop: [10, 5, 0, 9]', 'top < bottom'),
        ('alignment: robust', 'alignment'),
        ('min_pixels: 1', 'min_pixels'),
        ('max_gap_s: 0', 'max_gap_s'),
        ('edges: true\ntruth: points', 'edges need'),
        ('colour: red', 'colour'),
    ],
)
def test_a_mistake_in_a_protocol_is_told(tmp_path, line, message):
    path = tmp_path / 'mine.yaml'
    rest = '' if line.startswith(('max_depth', 'clip')) else 'max_depth: 10.0\n'
    path.write_text(f'data: {{type: shards}}\n{rest}{line}\n')
    with pytest.raises(RecipeError, match=message):
        read_protocol(str(path))


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(RecipeError, match=r'middlebury.*kitti.*nyu'):
        read_protocol('middlebury')
    with pytest.raises(RecipeError, match='name a protocol'):
        read_protocol('')
