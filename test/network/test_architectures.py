"""The table of networks against the figures of the papers and the official configurations."""

import pytest

from depth_anything_ros.network import ARCHITECTURES, DepthAnything

SIZES = ('small', 'base', 'large')


def test_table_holds_all_published_networks():
    relative = {f'{version}-{size}' for version in ('v1', 'v2') for size in SIZES}
    metric = {f'v2-{size}-{scene}' for size in SIZES for scene in ('indoor', 'outdoor')}
    assert set(ARCHITECTURES) == relative | metric | {'v2-giant', 'tiny', 'tiny-deep', 'lite0', 'lite1', 'lite2'}
    assert all(ARCHITECTURES[name].name == name for name in ARCHITECTURES)


@pytest.mark.parametrize('size', SIZES)
def test_v1_and_v2_differ_only_in_taps(size):
    v1, v2 = ARCHITECTURES[f'v1-{size}'], ARCHITECTURES[f'v2-{size}']
    assert v1.taps == tuple(range(v2.blocks - 4, v2.blocks))
    assert v1.taps != v2.taps
    same = ('encoder', 'width', 'blocks', 'features', 'channels', 'max_depth')
    assert all(getattr(v1, field) == getattr(v2, field) for field in same)


@pytest.mark.parametrize('name', ARCHITECTURES)
@pytest.mark.usefixtures('without_memory')
def test_every_network_takes_images_of_its_own_size(name):
    network = DepthAnything.from_name(name)
    assert network.architecture.input_size == (256 if network.architecture.pyramid else 518)
    assert network.architecture.input_size % network.multiple == 0


def test_only_metric_networks_claim_depth():
    assert ARCHITECTURES['v2-small'].kind == 'disparity'
    assert ARCHITECTURES['v1-large'].kind == 'disparity'
    indoor, outdoor = ARCHITECTURES['v2-base-indoor'], ARCHITECTURES['v2-base-outdoor']
    assert (indoor.kind, indoor.max_depth) == ('depth', 20.0)
    assert (outdoor.kind, outdoor.max_depth) == ('depth', 80.0)


@pytest.mark.parametrize(
    ('scene', 'width', 'height', 'focal_px'), [('indoor', 1024, 768, 886.81), ('outdoor', 1242, 375, 725.0087)]
)
def test_metric_networks_know_the_focal_length_of_their_training(scene, width, height, focal_px):
    """Hypersim's and Virtual KITTI 2's, as the official training resizes their images: 518 high, multiples of 14."""
    scale_y = 518 / height
    scale_x = round(width * scale_y / 14) * 14 / width
    for size in SIZES:
        known = ARCHITECTURES[f'v2-{size}-{scene}'].canonical_focal_px
        assert known == pytest.approx(focal_px * (scale_x * scale_y) ** 0.5, abs=0.01)
        assert ARCHITECTURES[f'v2-{size}'].canonical_focal_px is None


# Parameters of the official networks, less the mask token and the coarsest level's merge, which are never used.
@pytest.mark.parametrize(
    ('name', 'official_millions', 'unused_millions'),
    [
        ('v2-small', 24.785, 0.0743),
        ('v1-base', 97.471, 0.296),
        ('v2-large-indoor', 335.316, 1.181),
        ('v2-giant', 1258.1, 2.657),
    ],
)
@pytest.mark.usefixtures('without_memory')
def test_sizes_are_the_published_ones(name, official_millions, unused_millions):
    millions = sum(p.numel() for p in DepthAnything.from_name(name).parameters()) / 1e6
    assert millions == pytest.approx(official_millions - unused_millions, abs=0.05 if 'giant' in name else 0.002)


def test_unknown_network_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"'v3-small'.*v2-small"):
        DepthAnything.from_name('v3-small')
