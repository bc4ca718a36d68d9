"""Sources by name, and those that other packages install."""

import re
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.alignment import (
    ENTRY_POINTS,
    Aligner,
    AlignerSettings,
    UnknownSourceError,
    View,
    make_source,
    parameters_of,
    source_types,
)
from depth_anything_ros.geometry import CameraModel

PLUGIN = """
    from dataclasses import dataclass
    import numpy as np
    from depth_anything_ros.alignment import Samples, parameter

    @dataclass(frozen=True)
    class TagSource:
        size_m: float = parameter(0.2, 'Edge of the tags.', between=(0.01, 10.0))

        def __post_init__(self):
            if self.size_m == 0.5:
                raise ValueError('no such tags')

        @property
        def topics(self):
            return {'tags': 'sensor_msgs/msg/PointCloud2'}

        def read(self, topic, message):
            return message.pixels

        def measure(self, evidence, view):
            v, u = evidence.T
            return Samples(np.stack([u, v], 1), self.size_m / (0.2 * view.disparity[v, u]))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package with an entry point, as pip would, on a path of its own."""

    def install_source(name, target, code=''):
        (tmp_path / 'tag_metres.py').write_text(textwrap.dedent(code))
        info = tmp_path / 'tag_metres-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: tag-metres\nVersion: 1.0\n')
        (info / 'entry_points.txt').write_text(f'[{ENTRY_POINTS}]\n{name} = {target}\n')
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, 'tag_metres', raising=False)
        source_types.cache_clear()

    yield install_source
    monkeypatch.undo()
    source_types.cache_clear()


def test_the_built_in_sources_are_those_of_the_documentation():
    built_in = {'none', 'fixed', 'depth', 'points', 'scan', 'range', 'ground', 'camera'}
    assert built_in <= set(source_types())


@pytest.mark.parametrize('name', sorted(source_types()))
def test_every_parameter_says_what_it_means_and_may_be(name):
    for item in parameters_of(source_types()[name]):
        assert item.metadata['description'].endswith('.')
        low, high = item.metadata['between'] or (0, 0)
        assert not item.metadata['between'] or low <= item.default <= high
        assert not item.metadata['choices'] or item.default in item.metadata['choices']


def test_a_source_of_another_package_makes_metres(install, make_header):
    install('tags', 'tag_metres:TagSource', PLUGIN)
    assert [item.name for item in fields(source_types()['tags'])] == ['size_m']
    disparity = np.linspace(0.1, 1.0, 1200, dtype=np.float32).reshape(30, 40)
    aligner = Aligner(make_source('tags', {'size_m': 0.4}), AlignerSettings(min_samples=10))
    assert dict(aligner.topics) == {'tags': 'sensor_msgs/msg/PointCloud2'}

    class Tags:
        header = make_header(0)
        pixels = np.array([[v, u] for v in range(2, 30, 5) for u in range(2, 40, 5)])

    assert aligner.add_message('tags', Tags()) is None
    np.testing.assert_allclose(aligner.align(View(disparity)).depth, 2.0 / disparity, rtol=1e-3)


def test_a_broken_package_is_told_of_only_when_it_is_chosen(install, caplog):
    install('tags', 'tag_metres:TagSource', 'import there_is_no_such_module')
    assert 'tags' not in source_types()
    assert 'there_is_no_such_module' in caplog.text
    assert make_source('none')
    with pytest.raises(UnknownSourceError, match='there_is_no_such_module'):
        make_source('tags')


def test_the_name_of_a_built_in_source_is_not_taken_over(install, caplog):
    install('depth', 'tag_metres:TagSource', PLUGIN)
    assert source_types()['depth'].__module__.startswith('depth_anything_ros.')
    assert 'taken by a built-in source' in caplog.text


def test_a_source_without_defaults_is_refused(install):
    install('tags', 'tag_metres:TagSource', re.sub(r'size_m: float = .*', 'size_m: float', PLUGIN))
    with pytest.raises(UnknownSourceError, match='size_m has no default'):
        make_source('tags')


def test_an_unknown_name_or_parameter_is_answered_with_those_there_are(install):
    with pytest.raises(UnknownSourceError, match=r"'lidar'.*points"):
        make_source('lidar')
    with pytest.raises(ValueError, match="'fixed' has no parameter gain; it has scale, shift"):
        make_source('fixed', {'gain': 1.0})


def test_a_source_checks_what_it_is_given(install):
    install('tags', 'tag_metres:TagSource', PLUGIN)
    with pytest.raises(ValueError, match='no such tags'):
        make_source('tags', {'size_m': 0.5})


@pytest.mark.parametrize(
    ('source', 'parameters', 'told'),
    [
        ('depth', {'max_samples': 1}, 'alignment.depth.max_samples is 1, expected 3 to'),
        ('ground', {'gravity': 'guess'}, "alignment.ground.gravity is 'guess', expected one of: tf"),
        ('fixed', {'scale': float('nan')}, 'alignment.fixed.scale is nan'),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_bounds(source, parameters, told):
    with pytest.raises(ValueError, match=told):
        make_source(source, parameters)


def test_the_example_of_the_readme_makes_metres(install, make_header):
    readme = (Path(__file__).resolve().parents[2] / 'README.md').read_text()
    code = re.search(r'```python\n(from dataclasses.*?)```', readme, re.DOTALL).group(1)
    group, name, target = re.search(r'\[project\.entry-points\."(.*?)"\]\n(\w+) = "(.*?)"', readme).groups()
    assert group == ENTRY_POINTS
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    install(name, target, code)
    disparity = np.linspace(0.1, 1.0, 1200, dtype=np.float32).reshape(30, 40)
    u, v = (grid.ravel() for grid in np.meshgrid(np.arange(1, 40, 4), np.arange(1, 30, 4)))
    # A tag of 0.16 m at 1 / disparity metres, through a lens of 50 pixels.
    edges = 50.0 * 0.16 * disparity[v, u]
    fields = [SimpleNamespace(name=axis, offset=4 * i, datatype=7, count=1) for i, axis in enumerate('xyz')]
    # The image is twice as large as what is predicted.
    data = (2.0 * np.stack([u, v, edges], axis=1)).astype('<f4').tobytes()
    tags = SimpleNamespace(
        header=make_header(0),
        height=1,
        width=u.size,
        fields=fields,
        is_bigendian=False,
        point_step=12,
        row_step=12 * u.size,
        data=data,
        is_dense=True,
    )
    aligner = Aligner(make_source(name))
    assert aligner.add_message('tags', tags) is None
    camera = CameraModel(40, 30, 50.0, 50.0, 19.5, 14.5)
    frame = aligner.align(View(disparity, camera=camera, image_size=(60, 80)))
    np.testing.assert_allclose(frame.depth, 1.0 / disparity, rtol=1e-3)
    empty = SimpleNamespace(**{**vars(tags), 'width': 0, 'row_step': 0, 'data': b''})
    assert aligner.add_message('tags', empty) == 'tags: no tag is in view'
