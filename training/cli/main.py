"""The executable depth-anything-train: one subcommand for each stage."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

import yaml

from training.configs import config_file
from training.errors import TrainingError

STAGES = {
    'ingest': 'bags and pictures -> shards',
    'synthesize': 'synthetic scenes with exact depth -> shards',
    'sky': 'labelled images -> masks of their sky',
    'teacher': 'labelled data -> a teacher',
    'label': 'a teacher and shards -> pseudo-labels',
    'student': 'pseudo-labels (and labelled data) -> a student',
    'metric': 'a relative network and metric data -> a metric network',
    'evaluate': 'networks and data sets -> a table and a report',
    'retrain': 'bags -> shards -> pseudo-labels -> a student for this robot, and whether it is better',
    'bench': 'how fast this machine trains and labels',
}
# Those without an output folder: they begin anew.
_LEAVES_NOTHING = ('bench',)
# A module that is missing in these is a mistake in this package.
_OURS = ('depth_anything_ros', 'training')
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    stages = '\n'.join(f'  {name:<12}{description}' for name, description in STAGES.items())
    parser = argparse.ArgumentParser(
        prog='depth-anything-train',
        description=f'Train Depth Anything, stage by stage:\n\n{stages}',
        epilog='depth-anything-train STAGE --print shows all settings of a stage.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('stage', choices=STAGES, metavar='STAGE', help='what to do')
    parser.add_argument('--recipe', metavar='FILE', help='a YAML file, or the name of one that comes along')
    parser.add_argument('--print', action='store_true', help='print the settings as they would be used, and stop')
    parser.add_argument('settings', nargs='*', metavar='key=value', help='settings, which override the recipe')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage and return its exit code: 0 done, 1 an error (one line on stderr), 2 wrong usage, 130 Ctrl-C.

    What a stage has done when it stops is kept, but for bench: the same command goes on from there.
    """
    args = make_parser().parse_intermixed_args(argv)
    resumes = args.stage not in _LEAVES_NOTHING
    prefix = f'depth-anything-train {args.stage}'
    logging.basicConfig(format=f'{prefix}: %(message)s', level=logging.WARNING)
    logging.getLogger('training').setLevel(logging.INFO)
    try:
        return _run(args)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition('.')[0] in _OURS:
            raise
        hint = "pip install '.[train]' in the checkout of this package"
        print(f'depth-anything-train: {error.name} is not installed: {hint}', file=sys.stderr)
        return 1
    except TrainingError as error:
        print(f'{prefix}: {error}', file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f'{prefix}: interrupted{"; the same command goes on from here" if resumes else ""}', file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:  # such as a full disk
        hint = '; what was finished is kept, the same command goes on from there' if resumes else ''
        print(f'{prefix}: {error}{hint}', file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    recipe = None if args.recipe is None else config_file(args.recipe)
    # Only now: torch takes seconds, which --help and a typing error need not wait for, and a package of the extra
    # `train` may be missing, which main says.
    from training.recipe import as_dict, read_recipe  # noqa: PLC0415

    stage = importlib.import_module(f'training.stages.{args.stage}')
    settings = read_recipe(stage.Settings, recipe, args.settings)
    if args.print:
        print(yaml.safe_dump(as_dict(settings), sort_keys=False), end='')
        return 0
    facts = stage.run(settings)
    left = '' if args.stage in _LEAVES_NOTHING else f': {settings.output}'
    logging.getLogger('training').info('finished in %.0f s%s', facts['seconds'], left)
    return 0


if __name__ == '__main__':
    sys.exit(main())
