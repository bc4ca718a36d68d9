"""Making a backend ready beside a node that works.

A process of its own, since torch's export changes torch itself while it runs, for every thread; this one's frames would
go through it. It fills the cache, and lets others go first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation.backends.interface import CachingCompiler
from depth_anything_ros.network import DepthAnything

_MODULE = 'depth_anything_ros.estimation.prepare'


class Preparation:
    """A process that prepares a backend for one input size."""

    def __init__(self, network: DepthAnything, compiler: CachingCompiler, shape: tuple[int, ...]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix='depth_anything_')
        weights, self._log = (Path(self._folder.name) / name for name in ('weights.safetensors', 'log'))
        checkpoints.save(network, weights)
        command = [sys.executable, '-m', _MODULE, str(weights), compiler.name, compiler.hardware]
        command += [compiler.precisions[0], *map(str, shape)]
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def problem(self) -> str | None:
        """None while it works, '' once it has done so, and otherwise its last words."""
        code = self._process.poll()
        if not code:
            return '' if code == 0 else None
        lines = self._log.read_text(encoding='utf-8', errors='replace').split('\n')
        words = [line.strip() for line in lines if line.strip()]
        return words[-1] if words else f'it ended with code {code}'

    def close(self) -> None:
        """End it, if it still works."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()
