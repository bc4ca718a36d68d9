"""MCAP files that were cut off, by a power cut or a full disk, read up to their last whole record.

The format allows a file without an index (https://mcap.dev/spec), so the part that is there and a footer that says so
are such a file. They are joined while reading: nothing is written, and the recording stays as it is.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

_MAGIC = b'\x89MCAP0\r\n'
_RECORD = struct.Struct('<BQ')  # opcode, length
_NONE, _FOOTER, _DATA_END = 0x00, 0x02, 0x0F
# summary_start and summary_offset_start of 0: there is no index; summary_crc of 0: there is no checksum.
_END = _RECORD.pack(_FOOTER, 20) + bytes(20) + _MAGIC


def cut_off_at(path: Path) -> int | None:
    """Where the last whole record of an MCAP file ends, if the file has no end; None if it has, or is no MCAP."""
    size = path.stat().st_size
    with open(path, 'rb') as file:
        if size < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
            return None
        file.seek(max(size - len(_MAGIC), len(_MAGIC)))
        if file.read() == _MAGIC:
            return None
        end = len(_MAGIC)
        while end + _RECORD.size <= size:
            file.seek(end)
            opcode, length = _RECORD.unpack(file.read(_RECORD.size))
            # Zeros are what a file system leaves of blocks that it had no time to write.
            if opcode in (_NONE, _FOOTER, _DATA_END) or end + _RECORD.size + length > size:
                break
            end += _RECORD.size + length
        return end


class MendedPath(type(Path())):
    """A path; an MCAP file at or below it that was cut off opens as one that ends after its last whole record."""

    def open(self, mode: str = 'r', *args: Any, **kwargs: Any) -> Any:
        """Open a file, as Path does."""
        file = super().open(mode, *args, **kwargs)
        end = cut_off_at(self) if self.suffix == '.mcap' and mode == 'rb' else None
        return file if end is None else io.BufferedReader(_Mended(file, end))


class _Mended(io.RawIOBase):
    """The first `end` bytes of a file, and the end that it lacks."""

    def __init__(self, file: io.BufferedReader, end: int) -> None:
        self._file = file
        self._end = end
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end + len(_END)}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position < self._end:
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), self._end - self._position))
        else:
            start = self._position - self._end
            data = _END[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
