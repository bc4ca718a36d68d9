"""`python -m training.smoke [--recipe FILE] key=value ...`: the whole training in minutes, and a table of evidence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.configs import config_file
from training.errors import RecipeError, TrainingError
from training.evaluation.results import RESULTS, read_results
from training.files import Folder
from training.recipe import read_recipe
from training.run import Run
from training.smoke.pipeline import PROTOCOL, Pipeline
from training.smoke.settings import Settings
from training.smoke.table import compare_rows, markdown, rows_as_json

TABLE = 'table.md'


def run(settings: Settings) -> dict[str, Any]:
    """Run all stages, or those that are left; returns the finished manifest.

    The output has `table.md`, `results.json`, the evaluation with its report, and a folder, a recipe and a log for each
    run of a stage.

    Raises:
        RecipeError: the output is not a folder on this machine.
        TrainingError: a stage has failed. What is done stays, and the same command goes on from there.
    """
    if settings.output and not Folder(settings.output).local:
        raise RecipeError(f'{settings.output}: the smoke run needs a folder on this machine')
    with Run('smoke', settings, {}, settings.output) as current:
        if not current.finished:
            pipeline = Pipeline(settings, Path(current.folder.path))
            label_errors = pipeline.run()
            found = read_results(pipeline.evaluation().output)
            comparisons = compare_rows({model: found[model, data] for model, data in found}, settings.seed)
            current.note()  # for the seconds
            facts = _facts(current.manifest, settings)
            current.folder.write(TABLE, markdown(comparisons, label_errors, facts).encode())
            rows = rows_as_json(comparisons)
            current.folder.write_json(RESULTS, {'rows': rows, 'labels_abs_rel': label_errors})
            current.finish(verdicts={row['claim']: row['comparison']['verdict'] for row in rows})
        return current.manifest


def _facts(manifest: dict[str, Any], settings: Settings) -> str:
    machine = manifest['machine']
    return (
        f'Seed {settings.seed}; protocol {PROTOCOL}; {settings.teacher.steps} steps of {settings.teacher.batch_size} '
        f'images per teacher, {settings.student.steps} of {settings.student.batch_size} per student; '
        f'{machine["cpus"]} CPUs, {settings.processes} processes of one thread; {manifest["seconds"] / 60:.1f} minutes.'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table and return the exit code, as of depth-anything-train."""
    parser = argparse.ArgumentParser(prog='python -m training.smoke', description=__doc__)
    parser.add_argument('--recipe', default='smoke', metavar='FILE', help='a YAML file, or the name of one')
    parser.add_argument('settings', nargs='*', metavar='key=value', help='settings, which override the recipe')
    args = parser.parse_intermixed_args(argv)
    try:
        settings = read_recipe(Settings, config_file(args.recipe), args.settings)
        run(settings)
        print(Folder(settings.output).read(TABLE).decode())
    except (TrainingError, OSError) as error:
        print(f'train-smoke: {error}; what is done is kept, the same command goes on from there', file=sys.stderr)
        return getattr(error, 'exit_code', 1)
    except KeyboardInterrupt:
        print('train-smoke: interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
