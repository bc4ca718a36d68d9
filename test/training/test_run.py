"""Output folders: continued with the same recipe, refused with another, never worked on by two."""

import time
from dataclasses import dataclass

import pytest

from training.errors import MismatchError, RecipeError, TrainingError
from training.files import Folder
from training.recipe import free
from training.run import Run, finished_manifest


@dataclass(frozen=True)
class Settings:
    """A stage."""

    steps: int = 10
    workers: int = free(1)


def test_an_interrupted_run_is_continued_and_a_finished_one_says_so(tmp_path):
    with pytest.raises(KeyboardInterrupt), Run('label', Settings(), {'shards': 'a'}, tmp_path / 'out') as run:  # noqa: PT012
        run.note(done=3)
        raise KeyboardInterrupt
    with pytest.raises(MismatchError, match='failed'):
        finished_manifest(tmp_path / 'out', 'label')
    with Run('label', Settings(workers=4), {'shards': 'a'}, tmp_path / 'out') as run:
        assert (run.finished, run.manifest['done']) == (False, 3)
        run.finish(images=7)
    with Run('label', Settings(), {'shards': 'a'}, tmp_path / 'out') as run:
        assert run.finished
    manifest = finished_manifest(tmp_path / 'out', 'label')
    assert manifest['images'] == 7
    assert 'error' not in manifest
    with pytest.raises(MismatchError, match='expected that of student'):
        finished_manifest(tmp_path / 'out', 'student')


def test_the_time_of_all_parts_counts(tmp_path):
    with Run('label', Settings(), {}, tmp_path) as run:
        time.sleep(0.2)
        run.note(done=1)
    with Run('label', Settings(), {}, tmp_path) as run:
        run.finish()
    seconds = finished_manifest(tmp_path)['seconds']
    with Run('label', Settings(), {}, tmp_path) as run:
        assert run.manifest['seconds'] == seconds
    assert seconds >= 0.2


def test_what_a_killed_run_was_writing_is_removed_but_not_what_is_of_a_run_of_its_own(tmp_path):
    with Run('retrain', Settings(), {}, tmp_path), Run('label', Settings(), {}, tmp_path / 'labels'):
        pass
    left = ['.manifest.json.1.unfinished', 'reports/.a.json.1.unfinished', 'labels/.a.tar.1.unfinished']
    for name in [*left, 'reports/a.json']:
        Folder(tmp_path).write(name, b'{')
    with Run('retrain', Settings(), {}, tmp_path):
        assert [(tmp_path / name).exists() for name in left] == [False, False, True]
        assert (tmp_path / 'reports' / 'a.json').exists()
    with Run('label', Settings(), {}, tmp_path / 'labels'):
        assert not (tmp_path / left[-1]).exists()


@pytest.mark.parametrize(
    ('stage', 'settings', 'inputs', 'said'),
    [
        ('label', Settings(steps=11), {'shards': 'a'}, r'recipe.steps was 10, is now 11'),
        ('label', Settings(), {'shards': 'b'}, r"inputs.shards was 'a', is now 'b'"),
        ('student', Settings(), {'shards': 'a'}, r"stage was 'label'"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_unchanged(tmp_path, stage, settings, inputs, said):
    with Run('label', Settings(), {'shards': 'a'}, tmp_path) as run:
        run.note(done=3)
    before = (tmp_path / 'manifest.json').read_bytes()
    with pytest.raises(MismatchError, match=said), Run(stage, settings, inputs, tmp_path):
        pass
    assert (tmp_path / 'manifest.json').read_bytes() == before


def test_a_manifest_of_something_else_is_named_and_left_alone(tmp_path):
    (tmp_path / 'manifest.json').write_text('[]')
    with (
        pytest.raises(TrainingError, match=r'manifest\.json holds a JSON list and no object'),
        Run('label', Settings(), {}, tmp_path),
    ):
        pass
    assert (tmp_path / 'manifest.json').read_text() == '[]'


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    with Run('label', Settings(), {}, tmp_path), pytest.raises(TrainingError, match='another process'):
        Run('label', Settings(), {}, tmp_path).__enter__()
    with Run('label', Settings(), {}, tmp_path) as run:
        assert not run.finished


def test_an_output_must_be_named():
    with pytest.raises(RecipeError, match='output=FOLDER'):
        Run('label', Settings(), {}, '')


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    folder = Folder(tmp_path)
    folder.write('a.txt', b'old')
    with pytest.raises(OSError, match='disk'), folder.writing('a.txt') as file:  # noqa: PT012
        file.write(b'new, and')
        raise OSError('disk full')
    assert folder.read('a.txt') == b'old'
    assert folder.names('*') + folder.names('.*') == ['a.txt']
