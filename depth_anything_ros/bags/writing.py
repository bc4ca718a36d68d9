"""MCAP bags, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys.store import Typestore

from depth_anything_ros.bags.errors import BagError

_METADATA_VERSION = 9


class OutputBag:
    """A new rosbag2 folder with one MCAP file. It appears under its name when it is complete, and not before.

    typestore: of the messages that `write` takes. writer: for copying.
    """

    def __init__(self, path: Path, typestore: Typestore, *, overwrite: bool = False) -> None:
        """Check the place; raises BagError. To be used in a with statement: an exception in it leaves no bag."""
        if path.exists():
            if not overwrite:
                raise BagError(f'{path} exists already: give --overwrite to replace it')
            if not (path / 'metadata.yaml').is_file():
                raise BagError(f'{path} is not a bag, so --overwrite does not replace it')
        self.path = path
        self.typestore = typestore
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> OutputBag:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f'.{self.path.name}.', dir=self.path.parent))
        # The file in a bag has the name of the folder, so the folder has its final name from the start.
        self.writer = Writer(
            self._folder / self.path.name, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP
        )
        self.writer.open()
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            self.writer.close()
            if kind is None:
                if self.path.exists():
                    os.rename(self.path, self._folder / 'replaced')
                os.rename(self.writer.path, self.path)
        finally:
            shutil.rmtree(self._folder)

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """Write a message of `typestore` with this log time, to a topic that the copied bag does not have."""
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self.writer.add_connection(topic, kind, typestore=self.typestore)
        self.writer.write(self._connections[topic], time_ns, self.typestore.serialize_cdr(message, kind))
