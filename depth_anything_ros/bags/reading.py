"""Bags of every kind, read as ROS 2 messages."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.convert.converter import create_connections_converters, generate_message_converter
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from depth_anything_ros.bags.errors import BagError, MessageError
from depth_anything_ros.bags.salvage import MendedPath, cut_off_at
from depth_anything_ros.bags.writing import OutputBag

_logger = logging.getLogger(__name__)

# As rosbags renames it when it copies; the two are the same field by field.
_ROS1_RENAMED = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}
# Later distributions write the definitions of their types into the bag. Some types have changed since, Range is one.
_WITHOUT_DEFINITIONS = Stores.ROS2_HUMBLE
# How far before a bag's end its last messages are looked for at first.
_FIRST_STEP_NS = 2_000_000_000


class Message(NamedTuple):
    """A message of a bag: its topic, its type as in 'std_msgs/msg/Header', the log time, and its CDR bytes."""

    topic: str
    kind: str
    time_ns: int
    data: bytes | memoryview


class InputBag:
    """A rosbag2 folder, a bare .db3 or .mcap file, or a ROS 1 bag, read as ROS 2 messages.

    typestore: ROS 2's message types of today. damage: why reading stopped early, None while all is well.
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        """Open; raises BagError. To be used in a with statement.

        salvage: read MCAP files that were cut off up to there, which `damage` then says, in the order of recording.
        """
        self.path = path
        self.typestore = get_typestore(Stores.LATEST)
        self.damage: str | None = None
        self._refused: set[str] = set()
        if not path.exists():
            raise BagError(f'{path}: no such file or folder')
        if path.is_dir() and not (path / 'metadata.yaml').exists():
            raise BagError(
                f'{path}: no metadata.yaml in this folder, so it is no finished bag; run `ros2 bag reindex` on it, or '
                'give the .db3 or .mcap file in it'
            )
        cut = [file.name for file in _files(path) if cut_off_at(file) is not None] if salvage else []
        if cut:
            self.damage = f'the recording of {", ".join(cut)} was cut off'
        try:
            default = get_typestore(_WITHOUT_DEFINITIONS)
            self._reader = AnyReader([MendedPath(path) if cut else path], default_typestore=default)
            self._reader.open()
        except Exception as error:  # the library raises whatever damaged bytes lead it to
            raise BagError(f'{path}: cannot be read as a bag: {_describe(error)}{_remedy(path)}') from error
        # Those of ROS 1 are made messages of today.
        self._typestores = [self._reader.typestore, self.typestore] if self._reader.is2 else [self.typestore]
        self._converters: dict[str, Callable] = {}
        # Bags of 2019 name their types without the /msg/.
        self._connections = [
            connection._replace(msgtype=_full_name(connection.msgtype)) for connection in self._reader.connections
        ]

    def __enter__(self) -> InputBag:
        return self

    def __exit__(self, *_) -> None:
        self._reader.close()

    @property
    def topics(self) -> dict[str, str]:
        """Message type by topic."""
        return {connection.topic: _ros2_name(connection.msgtype) for connection in self._connections}

    @property
    def start_ns(self) -> int:
        """The log time of the first message."""
        return self._reader.start_time

    @property
    def end_ns(self) -> int:
        """The log time of the last message, or the nanosecond after it: storages differ."""
        return self._reader.end_time

    def count(self, topic: str) -> int:
        """How many messages a topic has."""
        return sum(connection.msgcount for connection in self._connections if connection.topic == topic)

    def first(self, topic: str) -> Message | None:
        """The first readable message of a topic, whose type must be one of ROS 2's; None if there is none."""
        for message in self.messages([topic]):
            try:
                self.deserialize(message)
            except MessageError:  # coming past it again says so
                continue
            return message
        return None

    def last_ns(self, topics: Collection[str]) -> int | None:
        """The log time of the last message of these topics; None if there is none, or the bag is damaged.

        It is looked for from the end, in steps that grow, so that little is read of a bag that has an index.
        """
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        back_ns = _FIRST_STEP_NS
        while connections and self.damage is None:
            start_ns = max(self.end_ns - back_ns, self.start_ns)
            messages = self._guarded(self._reader.messages(connections, start=start_ns))
            last_ns = max((time_ns for _, time_ns, _ in messages), default=None)
            if last_ns is not None or start_ns == self.start_ns:
                return last_ns if self.damage is None else None
            back_ns *= 4
        return None

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """The messages of these topics, whose types must be ROS 2's, in the order of log time.

        Where the bag is damaged this ends, and `damage` says why.
        """
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        if not connections:  # to the library, no connections are all of them
            return
        for connection, time_ns, data in self._guarded(self._reader.messages(connections)):
            try:
                cdr = data if self._reader.is2 else self._converter(connection.msgtype)(data)
            except Exception as error:  # as when opening
                self._refuse(connection.topic, error)
                continue
            yield Message(connection.topic, _ros2_name(connection.msgtype), time_ns, cdr)

    def copy_to(self, bag: OutputBag) -> Iterator[Message]:
        """Copy all messages as they are to a new bag, and yield each that has been copied, in the order of log time.

        Those of ROS 1 become CDR. Where the bag is damaged this ends, and `damage` says why.
        """
        copies, converters = self._prepare(bag.writer)
        for connection, time_ns, data in self._guarded(self._reader.messages()):
            kind = _full_name(connection.msgtype)
            try:
                cdr = converters[kind](data) if kind in converters else data
            except Exception as error:  # as when opening
                self._refuse(connection.topic, error)
                continue
            bag.writer.write(copies[connection.id, connection.owner], time_ns, cdr)
            yield Message(connection.topic, _ros2_name(kind), time_ns, cdr)

    def deserialize(self, message: Message) -> Any:
        """Read a message of a type that ROS 2 has; raises MessageError."""
        problem = KeyError(message.kind)
        for typestore in self._typestores:
            if message.kind in typestore.fielddefs:
                try:
                    return typestore.deserialize_cdr(message.data, message.kind)
                except Exception as error:  # as when opening
                    problem = error
        raise MessageError(f'{message.topic}: a message cannot be decoded: {_describe(problem)}') from problem

    def _converter(self, kind: str) -> Callable:
        """What makes CDR of ROS 1's messages of a type; a field that they do not have becomes 0."""
        if kind not in self._converters:
            # The library prints what it changes.
            with contextlib.redirect_stdout(None):
                self._converters[kind] = generate_message_converter(
                    self._reader.typestore, self.typestore, kind, _ros2_name(kind), {}, src_is2=False, dst_is2=True
                )
        return self._converters[kind]

    def _prepare(self, writer: Writer) -> tuple[dict[tuple[int, object], Connection], dict[str, Callable]]:
        """The connections of the copy, by (id, owner) of the original, and what makes CDR of each message type."""
        known = [item for item in self._connections if item.msgtype in self._reader.typestore.fielddefs]
        # Names and field names become those of ROS 2; the library prints what it renames.
        target = None if self._reader.is2 else self.typestore
        with contextlib.redirect_stdout(None):
            copies, converters = create_connections_converters(known, target, self._reader, writer)
        for item in self._connections:
            if (item.id, item.owner) in copies:
                continue
            # Old bags do not hold the definitions of their types. Playing needs only the name; the file format wants a
            # definition all the same, so it gets an empty one.
            unknown = get_typestore(Stores.EMPTY)
            unknown.register({item.msgtype: ([], [])})
            _logger.warning('%s: the bag has no definition of %s; copied without', item.topic, item.msgtype)
            copies[item.id, item.owner] = writer.add_connection(
                item.topic,
                item.msgtype,
                typestore=unknown,
                offered_qos_profiles=item.ext.offered_qos_profiles,
            )
        return copies, converters

    def _refuse(self, topic: str, error: Exception) -> None:
        if topic not in self._refused:
            self._refused.add(topic)
            _logger.warning('%s: messages that cannot be converted are left out: %s', topic, _describe(error))

    def _guarded(self, messages: Iterator) -> Iterator:
        try:
            yield from messages
        except Exception as error:  # as when opening
            self.damage = f'the bag is damaged, reading stopped: {_describe(error)}'


def _full_name(kind: str) -> str:
    package, _, name = kind.rpartition('/')
    return kind if package.endswith(('/msg', '/srv', '/action')) else f'{package}/msg/{name}'


def _ros2_name(kind: str) -> str:
    kind = _full_name(kind)
    return _ROS1_RENAMED.get(kind, kind)


def _describe(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _files(path: Path) -> list[Path]:
    """The files of a bag, which may be one itself."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _remedy(path: Path) -> str:
    """What mends a recording that was cut off."""
    remedies = {'.bag': 'rosbag reindex', '.db3': 'sqlite3 FILE .recover', '.mcap': 'mcap recover'}
    found = [remedies[file.suffix] for file in [path, *_files(path)] if file.suffix in remedies]
    return f' (if its recording was cut off, `{found[0]}` may mend it)' if found else ''
