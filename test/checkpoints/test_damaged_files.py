"""Files that are not what they should be: one clear error for each."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from depth_anything_ros.checkpoints import (
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CorruptCheckpointError,
    load,
    save,
)


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        (b'', 'empty'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n', 'a Git LFS pointer'),
        (b'\n<!DOCTYPE html><html><body>Sign in</body></html>', 'a web page'),
        (b'{"error": "Repository not found"}', 'of an unknown format'),
        (b'\x00' * 4096, 'of an unknown format'),
        (b'x', 'of an unknown format'),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_file_that_holds_no_weights_is_described(tmp_path, content, found, suffix):
    path = tmp_path / f'model{suffix}'
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=rf'model{suffix} is {found}.*expected weights'):
        load('v2-small', path)


@pytest.mark.parametrize('kept', [100, 0.5, 0.999])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_truncated_download_is_recognised(official_file, small, tmp_path, kept, suffix):
    path = tmp_path / f'model{suffix}'
    if suffix == '.safetensors':
        save(small, path)
    whole = official_file.read_bytes() if suffix == '.pth' else path.read_bytes()
    path.write_bytes(whole[: kept if kept > 1 else int(kept * len(whole))])
    with pytest.raises(CorruptCheckpointError, match=r'truncated.*\d+ bytes.*download it again'):
        load('v2-small', path)


def test_old_pickle_cut_short_is_recognised(official_weights, tmp_path):
    path = tmp_path / 'old.pth'
    torch.save(official_weights, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CorruptCheckpointError, match='truncated'):
        load('v2-small', path)


class Intruder:
    def __reduce__(self):
        return print, ('code in a checkpoint was run',)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    for name, write in (('new.pth', torch.save), ('old.pth', lambda o, p: p.write_bytes(pickle.dumps(o, protocol=2)))):
        write({'pretrained.cls_token': Intruder()}, tmp_path / name)
        with pytest.raises(CorruptCheckpointError, match='other things than tensors'):
            load('v2-small', tmp_path / name)
    assert 'was run' not in capsys.readouterr().out


def test_file_without_names_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / 'list.pth')
    with pytest.raises(CorruptCheckpointError, match='holds a list'):
        load('v2-small', tmp_path / 'list.pth')


def test_empty_set_of_weights_is_a_mismatch(tmp_path):
    torch.save({}, tmp_path / 'none.pth')
    with pytest.raises(CheckpointMismatchError, match=r"'pretrained\.cls_token' is missing"):
        load('v2-small', tmp_path / 'none.pth')


@pytest.mark.parametrize(
    'metadata',
    [
        {'architecture': 'v2-small'},
        {'architecture': 'v2-small', 'taps': 'all'},
        {'architecture': 'v2-small', 'taps': '7'},
        {'architecture': 'v2-small', 'taps': '[2, 5, 8, 11]', 'output_stride': 'half'},
        {'architecture': 'v2-small', 'taps': '[2, 5, 8, 11]', 'max_depth': 'far'},
    ],
)
def test_unreadable_metadata_is_refused(tmp_path, metadata):
    save_file({'x': torch.zeros(1)}, tmp_path / 'x.safetensors', metadata)
    with pytest.raises(CorruptCheckpointError, match='metadata'):
        load(None, tmp_path / 'x.safetensors')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r'nowhere\.pth: No such file'):
        load('v2-small', tmp_path / 'nowhere.pth')


def test_a_home_that_nobody_knows_is_named():
    with pytest.raises(CheckpointNotFoundError, match=r'~nobody-of-that-name/small\.pth'):
        load('v2-small', '~nobody-of-that-name/small.pth')


def test_a_folder_of_checkpoints_of_a_user_whom_nobody_knows_is_named(monkeypatch):
    monkeypatch.setenv('DEPTH_ANYTHING_CHECKPOINTS', '~nobody-of-that-name/checkpoints')
    with pytest.raises(CheckpointNotFoundError, match=r'CHECKPOINTS is ~nobody-of-that-name/checkpoints'):
        load('v2-small')


def test_a_name_that_the_system_refuses_is_an_error_of_the_checkpoint(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match='File name too long'):
        load('v2-small', tmp_path / ('x' * 300))


def test_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match='is a folder'):
        load('v2-small', tmp_path)
