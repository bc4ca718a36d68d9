"""The executable depth-anything."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence

from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.cli.errors import CommandError
from depth_anything_ros.cli.parser import make_parser

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 an error (one line on stderr), 2 wrong usage, 130 Ctrl-C.

    Raises SystemExit as argparse does, for --help and for what it cannot parse.
    """
    args = make_parser().parse_args(argv)
    name = f'depth-anything {args.command}'
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f'{name}: %(message)s'))
    logger = logging.getLogger('depth_anything_ros')
    logger.addHandler(handler)
    try:
        # Only now: to import torch takes seconds, which --help and a typing error need not wait for.
        code = importlib.import_module(f'depth_anything_ros.cli.{args.command}').run(args)
        sys.stdout.flush()
        return code
    except CommandError as error:
        print(f'{name}: {error}', file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f'{name}: interrupted', file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output went away. The interpreter flushes stdout once more at its end: let that succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BagError, OSError) as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 1
    finally:
        logger.removeHandler(handler)


if __name__ == '__main__':
    sys.exit(main())
