"""The cache: whole entries or none, and none for anything but what it was made of."""

import os
import threading
from pathlib import Path

import pytest
import torch

from depth_anything_ros.estimation import artefacts
from depth_anything_ros.estimation.artefacts import Artefacts

SHAPE = (1, 3, 64, 96)


def test_what_was_made_once_is_read_the_next_time(cache, lite):
    entries = Artefacts(lite(), 'form', {})
    assert entries.read_or_make(SHAPE, 'fp32', lambda: b'made') == b'made'
    again = Artefacts(lite(), 'form', {})
    assert again.read_or_make(SHAPE, 'fp32', lambda: pytest.fail('made again')) == b'made'
    assert [path.name for path in cache.iterdir()] == [again.path(SHAPE, 'fp32').name]


def test_another_network_size_precision_version_or_form_is_another_entry(cache, lite):
    network, changed = lite(), lite()
    with torch.no_grad():
        changed.head.output.bias += 1e-3
    paths = {
        Artefacts(network, 'form', {'library': '1'}).path(SHAPE, 'fp32'),
        Artefacts(changed, 'form', {'library': '1'}).path(SHAPE, 'fp32'),
        Artefacts(network, 'form', {'library': '2'}).path(SHAPE, 'fp32'),
        Artefacts(network, 'other', {'library': '1'}).path(SHAPE, 'fp32'),
        Artefacts(network, 'form', {'library': '1'}).path((1, 3, 96, 64), 'fp32'),
        Artefacts(network, 'form', {'library': '1'}).path(SHAPE, 'int8'),
    }
    assert len(paths) == 6
    assert all(path.parent == cache for path in paths)


@pytest.mark.parametrize(
    'damage', [lambda data: data[:-1], lambda data: data[:10], lambda data: b'', lambda data: data[:-1] + b'!']
)
def test_a_damaged_entry_is_made_anew_and_the_log_says_so(cache, lite, caplog, damage):
    entries = Artefacts(lite(), 'form', {})
    entries.read_or_make(SHAPE, 'fp32', lambda: b'made')
    path = entries.path(SHAPE, 'fp32')
    path.write_bytes(damage(path.read_bytes()))
    assert entries.read_or_make(SHAPE, 'fp32', lambda: b'anew') == b'anew'
    assert 'damaged' in caplog.text
    assert artefacts.read(path) == b'anew'


def test_a_folder_that_cannot_be_written_is_a_warning_and_no_failure(cache, lite, caplog):
    cache.write_text('a file where the folder should be')
    assert Artefacts(lite(), 'form', {}).read_or_make(SHAPE, 'fp32', lambda: b'made') == b'made'
    assert 'nothing can be kept' in caplog.text
    assert 'DEPTH_ANYTHING_CACHE' in caplog.text


def test_a_write_that_fails_leaves_nothing_behind(cache, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    assert not artefacts.write(cache / 'entry', b'content')
    assert list(cache.iterdir()) == []


def test_readers_see_whole_entries_while_others_write_them(cache):
    path, contents = cache / 'entry', [bytes([value]) * 100_000 for value in range(4)]
    artefacts.write(path, contents[0])
    writers = [threading.Thread(target=lambda c=c: [artefacts.write(path, c) for _ in range(20)]) for c in contents]
    for writer in writers:
        writer.start()
    seen = [artefacts.read(path) for _ in range(100)]
    for writer in writers:
        writer.join()
    assert set(seen) <= set(contents)
    assert [entry.name for entry in cache.iterdir()] == ['entry']


def fill(network, count):
    """Make entries, each a second younger than the one before."""
    entries = Artefacts(network, 'form', {})
    paths = [entries.path((1, 3, 32, 32 * width), 'fp32') for width in range(1, count + 1)]
    for age, path in enumerate(paths):
        artefacts.write(path, b'content')
        os.utime(path, (age, age))
    return paths


def test_the_entries_used_last_stay(cache, lite):
    paths = fill(lite(), 40)
    artefacts.read(paths[20])
    newest = Artefacts(lite(), 'form', {}).path(SHAPE, 'int8')
    artefacts.write(newest, b'content')
    left = set(cache.iterdir())
    assert len(left) == 32
    assert {newest, paths[20], paths[39]} <= left
    assert paths[0] not in left


def test_what_others_keep_in_the_folder_stays_and_what_died_unfinished_goes(cache, lite):
    cache.mkdir()
    theirs = [cache / name for name in ('thesis.odt', 'model.onnx', '.bashrc', 'notes-1x3-fp32.form', 'unfinished')]
    died = cache / '.0a1b2c3d.unfinished'
    for path in (*theirs, died):
        path.touch()
        os.utime(path, (-1, -1))
    paths = fill(lite(), 33)
    assert {*theirs} <= {*cache.iterdir()}
    assert not died.exists()
    assert [path.exists() for path in paths] == [False] + 32 * [True]


def test_an_entry_in_a_folder_of_somebody_else_is_read(cache, lite, monkeypatch, caplog):
    entries = Artefacts(lite(), 'form', {})
    entries.read_or_make(SHAPE, 'fp32', lambda: b'made')

    def refuse(*_):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'utime', refuse)
    assert entries.read_or_make(SHAPE, 'fp32', lambda: pytest.fail('made again')) == b'made'
    assert not caplog.records


def test_an_old_entry_of_somebody_else_that_stays_does_not_make_a_new_one_fail(cache, lite, monkeypatch, caplog):
    fill(lite(), 32)

    def refuse(*_, **__):  # what a folder for all does, but not to root
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(Path, 'unlink', refuse)
    assert artefacts.write(Artefacts(lite(), 'form', {}).path(SHAPE, 'int8'), b'content')
    assert not caplog.records


def test_an_entry_is_there_when_it_is_sound_and_looked_at_once(cache, lite, caplog):
    entries = Artefacts(lite(), 'form', {})
    assert not entries.has(SHAPE, 'fp32')
    entries.read_or_make(SHAPE, 'fp32', lambda: b'made')
    assert entries.has(SHAPE, 'fp32')
    path = entries.path(SHAPE, 'fp32')
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(3):
        assert not entries.has(SHAPE, 'fp32')
    assert caplog.text.count('is damaged') == 1
    assert entries.read_or_make(SHAPE, 'fp32', lambda: b'anew') == b'anew'
    assert entries.has(SHAPE, 'fp32')


def test_an_entry_can_be_read_by_whom_the_umask_lets(cache):
    before = os.umask(0o027)
    try:
        artefacts.write(cache / 'entry', b'content')
    finally:
        os.umask(before)
    assert (cache / 'entry').stat().st_mode & 0o777 == 0o640


def test_without_a_variable_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv('DEPTH_ANYTHING_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert artefacts.cache_folder() == tmp_path / 'depth_anything_ros' / 'compiled'


def test_a_cache_of_a_user_whom_nobody_knows_is_told_once_and_the_users_own_serves(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv('DEPTH_ANYTHING_CACHE', '~nobody-of-that-name/compiled')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert {artefacts.cache_folder() for _ in range(3)} == {tmp_path / 'depth_anything_ros' / 'compiled'}
    assert caplog.text.count('~nobody-of-that-name/compiled') == 1
