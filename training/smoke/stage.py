"""`python -m training.smoke.stage ...`: depth-anything-train that ends with the process that started it."""

from __future__ import annotations

import os
import sys
import threading

from training.cli.main import main

_STDIN = 0


def end_with_parent() -> None:
    """Wait until whoever holds the other end of standard input is gone, and end this process.

    The parent writes nothing there. However it ends, by SIGKILL too and before this is called, its end is closed, and
    the read returns. A second start of the parent then meets no stage of the first at work in its folders.
    """
    # Not sys.stdin: its lock, held by a thread that waits, makes the interpreter abort when it ends.
    os.read(_STDIN, 1)
    os._exit(1)


if __name__ == '__main__':
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.exit(main())
