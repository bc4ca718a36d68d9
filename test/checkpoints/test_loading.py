"""From names and paths to networks: what is loaded, what is refused and why."""

import hashlib
import logging
import os
import pwd
import resource
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depth_anything_ros.checkpoints import (
    CheckpointMismatchError,
    CheckpointUnavailableError,
    LicenseNotAcceptedError,
    UnknownModelError,
    UnnamedCheckpointError,
    load,
    save,
)
from depth_anything_ros.checkpoints.loading import user_cache_folder
from depth_anything_ros.network import ARCHITECTURES, DepthAnything, WeightSource


def test_official_file_loads_by_path(official_file, small, output):
    model = load('v2-small', official_file)
    assert not model.training
    assert torch.equal(output(model), output(small))


def test_source_says_where_the_weights_came_from(official_file):
    source = load('v2-small', str(official_file)).source
    assert source == WeightSource('v2-small', trained=True, checkpoint=official_file, licence='Apache-2.0')
    assert source.sha256 == hashlib.sha256(official_file.read_bytes()).hexdigest()


def test_one_file_is_v1_or_v2_as_it_is_called(official_file, output):
    v2, v1 = load('v2-small', official_file), load('v1-small', official_file)
    assert not torch.allclose(output(v1), output(v2))


def test_metric_weights_of_a_training_run_load(official_weights, tmp_path):
    path = tmp_path / 'latest.pth'
    wrapped = {'model': {f'module.{k}': v for k, v in official_weights.items()}, 'epoch': 3, 'optimizer': {}}
    torch.save(wrapped, path)
    assert load('v2-small-indoor', path).architecture.max_depth == 20.0


def test_old_pickle_file_loads(official_weights, tmp_path, small, output):
    path = tmp_path / 'old.pth'
    torch.save(official_weights, path, _use_new_zipfile_serialization=False)
    assert torch.equal(output(load('v2-small', path)), output(small))


def test_checkpoint_folder_is_searched_safetensors_first(official_weights, tmp_path, small, output):
    folder = tmp_path / 'checkpoints'
    folder.mkdir()
    torch.save({}, folder / 'depth_anything_v2_vits.pth')
    save_file(official_weights, folder / 'depth_anything_v2_vits.safetensors')
    model = load('v2-small')
    assert model.source.checkpoint.suffix == '.safetensors'
    assert torch.equal(output(model), output(small))


def test_a_checkpoint_folder_that_is_not_ours_is_as_good_as_none(tmp_path, monkeypatch):
    stat = os.stat

    def refuse(path, *args, **options):  # what nobody refuses to root
        if str(path).startswith(str(tmp_path / 'checkpoints')):
            raise PermissionError(13, 'Permission denied', str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, 'stat', refuse)
    with pytest.raises(CheckpointUnavailableError, match='not published'):
        load('v2-giant', accept_license=True)


def test_without_a_home_the_cache_is_a_temporary_folder_and_the_log_says_so_once(monkeypatch, caplog):
    def unknown(_):
        raise KeyError('uid not found')

    monkeypatch.setattr(pwd, 'getpwuid', unknown)
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    (folder,) = {user_cache_folder() for _ in range(3)}
    assert folder.parent == Path(tempfile.gettempdir())
    assert caplog.text.count(str(folder)) == 1


def test_loading_leaves_random_numbers_alone(official_file):
    for arguments in (('untrained-small',), ('v2-small', official_file)):
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        load(*arguments)
        assert torch.equal(torch.rand(3), expected)


def test_untrained_network_is_always_the_same_and_says_so(output, caplog):
    first, second = load('untrained-small'), load('untrained-small')
    assert torch.equal(output(first), output(second))
    assert first.source == WeightSource('untrained-small', trained=False)
    assert first.source.sha256 is None
    assert 'random' in caplog.text


def test_untrained_network_takes_no_checkpoint(official_file):
    with pytest.raises(CheckpointMismatchError, match='takes no checkpoint'):
        load('untrained-small', official_file)


def test_saved_network_loads_without_a_name(small, output, tmp_path):
    path = tmp_path / 'mine.safetensors'
    save(small, path)
    for name in (None, '', 'v2-small'):
        model = load(name, path)
        assert model.architecture == small.architecture
        assert model.source.name == 'v2-small'
        assert torch.equal(output(model), output(small))
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ['mine.safetensors']


def test_network_saved_in_half_the_bytes_loads_like_any_other(small, output, tmp_path):
    whole, half = tmp_path / 'whole.safetensors', tmp_path / 'half.safetensors'
    save(small, whole)
    save(small, half, torch.float16)
    assert half.stat().st_size < 0.51 * whole.stat().st_size
    with safe_open(half, framework='pt') as file:
        assert file.metadata()['dtype'] == 'float16'
    model = load(None, half)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.allclose(output(model), output(small), rtol=0.01, atol=1e-3)


def test_weight_too_large_for_half_the_bytes_is_refused(tmp_path):
    model = DepthAnything.from_name('lite0')
    with torch.no_grad():
        model.head.output.bias.fill_(1e6)
    with pytest.raises(ValueError, match=r'head\.output\.bias has a value of 1e\+06, too large for torch\.float16'):
        save(model, tmp_path / 'half.safetensors', torch.float16)
    assert list(tmp_path.glob('*.safetensors')) == []


def test_saved_metric_network_keeps_its_range(tmp_path):
    model = DepthAnything.from_name('v2-small-outdoor')
    save(model, tmp_path / 'metric.safetensors')
    assert load(None, tmp_path / 'metric.safetensors').architecture == model.architecture


@pytest.mark.parametrize('stride', [1, 2])
def test_saved_network_keeps_the_stride_of_its_output(tmp_path, stride):
    model = DepthAnything(replace(ARCHITECTURES['tiny'], output_stride=stride))
    save(model, tmp_path / 'mine.safetensors')
    for name in (None, 'tiny'):
        loaded = load(name, tmp_path / 'mine.safetensors')
        assert loaded.architecture == model.architecture
        assert loaded.head.full_size == (stride == 1)


def test_a_network_with_blocks_that_this_version_leaves_out_is_refused(tmp_path):
    deep = DepthAnything.from_name('tiny-deep')
    deep.architecture = ARCHITECTURES['tiny']
    save(deep, tmp_path / 'mine.safetensors')
    with pytest.raises(CheckpointMismatchError, match=r'blocks\.2\.1\..* unknown.*as another version has it'):
        load(None, tmp_path / 'mine.safetensors')


def test_saved_network_keeps_its_licence(small, tmp_path, official_file, caplog):
    model = load('v2-small', official_file)
    model.source = WeightSource('v2-small', trained=True, licence='CC-BY-NC-4.0')
    path = tmp_path / 'tuned.safetensors'
    save(model, path)
    for name in (None, 'v2-small'):
        with pytest.raises(LicenseNotAcceptedError, match=r'CC-BY-NC-4\.0'):
            load(name, path)
    assert load(None, path, accept_license=True).source.licence == 'CC-BY-NC-4.0'
    assert 'no commercial use' in caplog.text


def test_saving_over_a_checkpoint_fails_without_losing_it(small, tmp_path, monkeypatch):
    path = tmp_path / 'mine.safetensors'
    path.write_bytes(b'the old one')

    def full_disk(tensors, unfinished, metadata):
        unfinished.write_bytes(b'half')
        raise OSError('no space left on device')

    monkeypatch.setattr('depth_anything_ros.checkpoints.files.save_file', full_disk)
    with pytest.raises(OSError, match='no space'):
        save(small, path)
    assert path.read_bytes() == b'the old one'
    assert list(tmp_path.glob('.mine*')) == []


def test_what_the_system_refuses_to_write_is_an_oserror(small, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r'mine\.safetensors cannot be written'):
            save(small, tmp_path / 'mine.safetensors')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.glob('*mine*')) == []


def test_a_saved_network_can_be_read_by_whom_the_umask_lets(small, tmp_path):
    before = os.umask(0o027)
    try:
        save(small, tmp_path / 'a.safetensors')
    finally:
        os.umask(before)
    assert (tmp_path / 'a.safetensors').stat().st_mode & 0o777 == 0o640


def test_saving_under_another_suffix_is_refused(small, tmp_path):
    with pytest.raises(ValueError, match='safetensors'):
        save(small, tmp_path / 'mine.pth')


def test_name_that_contradicts_the_file_is_refused(small, tmp_path):
    path = tmp_path / 'mine.safetensors'
    save(small, path)
    with pytest.raises(CheckpointMismatchError, match='of network v2-small, but v1-small was asked for'):
        load('v1-small', path)


@pytest.mark.parametrize(
    ('metadata', 'reason'),
    [
        ({'architecture': 'v9-huge', 'taps': '[2, 5, 8, 11]'}, "'v9-huge', unknown to this version"),
        ({'architecture': 'v2-small', 'taps': '[8, 9, 10, 11]'}, r'taps \(8, 9, 10, 11\)'),
        ({'architecture': 'v2-small', 'taps': '[2, 5, 8, 11]', 'output_stride': '4'}, 'output_stride 4'),
    ],
)
def test_file_of_another_kind_of_network_is_refused(small, tmp_path, metadata, reason):
    path = tmp_path / 'other.safetensors'
    save_file(small.state_dict(), path, metadata)
    with pytest.raises(CheckpointMismatchError, match=reason):
        load(None, path)


@pytest.mark.parametrize('name', [None, ''])
def test_unnamed_official_file_is_refused_with_the_reason(official_file, name):
    with pytest.raises(UnnamedCheckpointError, match=r'V1 and V2 files have the same.*v2-small.*v1-small'):
        load(name, official_file)


def test_weights_of_another_size_are_named(official_file):
    with pytest.raises(CheckpointMismatchError, match=r'v1-base: .*shape \(1, 1, 384\).*as in v2-small, v1-small'):
        load('v1-base', official_file)


@pytest.mark.parametrize('path', [None, ''])
def test_no_name_and_no_path_is_refused(path):
    with pytest.raises(UnknownModelError, match='name a model: one of tiny, v2-small'):
        load('', path)


def test_unknown_name_is_refused_with_the_choices():
    with pytest.raises(UnknownModelError, match=r"'v2-smal'.*v2-small.*untrained-small"):
        load('v2-smal')


def test_non_commercial_licence_must_be_accepted_even_for_a_local_file(official_file, caplog):
    with pytest.raises(LicenseNotAcceptedError, match=r'CC-BY-NC-SA-3\.0.*accept_license.*v2-small'):
        load('v2-small-outdoor', official_file)
    model = load('v2-small-outdoor', official_file, accept_license=True)
    assert model.source.licence == 'CC-BY-NC-SA-3.0'
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ['v2-small-outdoor: licence CC-BY-NC-SA-3.0, no commercial use']


def test_equal_networks_are_equal_files(small, tmp_path):
    contents = set()
    for number in range(4):
        save(small, tmp_path / f'{number}.safetensors')
        contents.add((tmp_path / f'{number}.safetensors').read_bytes())
    assert len(contents) == 1
    assert load(None, tmp_path / '0.safetensors').architecture == small.architecture
