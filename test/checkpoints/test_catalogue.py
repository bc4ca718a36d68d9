"""What the catalogue says of the models."""

import pytest

from depth_anything_ros.checkpoints import UNTRAINED, catalogue, model_names
from depth_anything_ros.network import ARCHITECTURES

BY_NAME = {entry.name: entry for entry in catalogue()}


def test_every_network_is_in_the_catalogue_once():
    with_weights = [name for name in ARCHITECTURES if not name.startswith('lite') and name != 'tiny-deep']
    assert [entry.name for entry in catalogue()] == with_weights
    assert set(model_names()) == {*with_weights, UNTRAINED}


@pytest.mark.parametrize(
    ('name', 'repo', 'repo_type', 'file_name', 'licence'),
    [
        ('tiny', None, 'model', 'tiny.safetensors', 'Apache-2.0'),
        ('v2-small', 'depth-anything/Depth-Anything-V2-Small', 'model', 'depth_anything_v2_vits.pth', 'Apache-2.0'),
        ('v2-base', 'depth-anything/Depth-Anything-V2-Base', 'model', 'depth_anything_v2_vitb.pth', 'CC-BY-NC-4.0'),
        ('v1-large', 'LiheYoung/Depth-Anything', 'space', 'checkpoints/depth_anything_vitl14.pth', 'Apache-2.0'),
        (
            'v2-small-indoor',
            'depth-anything/Depth-Anything-V2-Metric-Hypersim-Small',
            'model',
            'depth_anything_v2_metric_hypersim_vits.pth',
            'Apache-2.0',
        ),
        (
            'v2-large-outdoor',
            'depth-anything/Depth-Anything-V2-Metric-VKITTI-Large',
            'model',
            'depth_anything_v2_metric_vkitti_vitl.pth',
            'CC-BY-NC-SA-3.0',
        ),
    ],
)
def test_entry_names_the_published_file(name, repo, repo_type, file_name, licence):
    entry = BY_NAME[name]
    found = (entry.hub_repo, entry.repo_type, entry.file_name, entry.licence)
    assert found == (repo, repo_type, file_name, licence)
    assert (entry.taps, entry.max_depth) == (ARCHITECTURES[name].taps, ARCHITECTURES[name].max_depth)


def test_models_free_for_commercial_use_are_these():
    free = {entry.name for entry in catalogue() if not entry.non_commercial}
    assert free == {'tiny', 'v2-small', 'v2-small-indoor', 'v1-small', 'v1-base', 'v1-large'}


def test_files_can_lie_in_one_folder():
    names = [entry.file_name.rsplit('/', 1)[-1] for entry in catalogue()]
    assert len(set(names)) == len(names)
