"""Checkpoint files: reading foreign ones with suspicion, writing our own so that they explain themselves."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from depth_anything_ros.checkpoints.errors import CheckpointNotFoundError, CorruptCheckpointError
from depth_anything_ros.network import DepthAnything

_ZIP = b'PK\x03\x04'
_PICKLE = b'\x80'
_WEB_PAGE = (b'<!doctype', b'<html', b'<?xml')
_LFS_POINTER = b'version https://git-lfs'


@dataclass(frozen=True)
class CheckpointFile:
    """What a file holds: its tensors, perhaps wrapped, and the text beside them (safetensors only)."""

    weights: Mapping[str, object]
    metadata: Mapping[str, str]


def read(path: Path) -> CheckpointFile:
    """Read a safetensors or PyTorch file into CPU memory. No code in it is run.

    Raises:
        CheckpointNotFoundError: there is no readable file.
        CorruptCheckpointError: it is damaged, or something else.
    """
    start = _first_bytes(path)
    # By content: files get renamed, and a saved web page keeps the name of the weights.
    if start[8:9] == b'{':
        return _read_safetensors(path)
    if start.startswith((_ZIP, _PICKLE)):
        return CheckpointFile(_read_torch(path, mapped=start.startswith(_ZIP)), {})
    raise CorruptCheckpointError(
        f'{path} is {_describe(start)}, expected weights (.safetensors, or .pth as written by torch.save); '
        'download it again, from the "resolve" address of the hub and not the page about the file'
    )


def save(model: DepthAnything, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint that `load(None, path)` understands: safetensors that name their network.

    The file is written beside its place and then moved there, so that a reader never sees half of it. Equal networks
    give equal files. What is loaded from it counts as trained.

    Args:
        model: the network.
        path: where to; ends in `.safetensors`.
        dtype: what floating-point weights are stored in, such as torch.float16 for half the size; None: as they are.
            They are loaded in float32 all the same.

    Raises:
        ValueError: another suffix, or a weight that is too large for dtype.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise ValueError(f'{path}: checkpoints are saved as .safetensors')
    architecture = model.architecture
    metadata = {
        'architecture': architecture.name,
        'taps': json.dumps(architecture.taps),
        'output_stride': str(architecture.output_stride),
    }
    if architecture.max_depth is not None:
        metadata['max_depth'] = str(architecture.max_depth)
        metadata['canonical_focal_px'] = json.dumps(architecture.canonical_focal_px)
    if model.source.licence is not None:
        metadata['licence'] = model.source.licence
    if dtype is not None:
        metadata['dtype'] = str(dtype).removeprefix('torch.')
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        save_file(tensors, unfinished, metadata)
        # The library makes files that nobody else can read, whatever the umask.
        unfinished.chmod(mode)
        _sort_metadata(unfinished)
        os.replace(unfinished, path)
    except SafetensorError as error:  # its name for what the system refuses
        raise OSError(f'{path} cannot be written: {error}') from error
    finally:
        unfinished.unlink(missing_ok=True)


def _stored(name: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor.contiguous()
    stored = tensor.to(dtype).contiguous()
    if not torch.equal(stored.isfinite(), tensor.isfinite()):
        raise ValueError(f'{name} has a value of {tensor.abs().max():g}, too large for {dtype}')
    return stored


def _sort_metadata(path: Path) -> None:
    """The library writes the metadata in any order. The header keeps its length, so the tensors stay in their place."""
    with path.open('r+b') as file:
        length = int.from_bytes(file.read(8), 'little')
        header = json.loads(file.read(length))
        header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
        text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode().ljust(length)
        if len(text) != length:
            raise ValueError(f'{path}: a header of {length} bytes would become one of {len(text)}')
        file.seek(8)
        file.write(text)


def _first_bytes(path: Path) -> bytes:
    if os.path.isdir(path):  # Path's raises where a folder above may not be entered
        raise CheckpointNotFoundError(f'{path} is a folder, expected a file of weights; name the file in it')
    try:
        with path.open('rb') as file:
            return file.read(64)
    except OSError as error:
        raise CheckpointNotFoundError(f'cannot read the checkpoint {path}: {error.strerror}') from error


def _describe(start: bytes) -> str:
    if not start:
        return 'empty'
    if start.startswith(_LFS_POINTER):
        return 'a Git LFS pointer (run `git lfs pull` where it was cloned)'
    if start.lstrip().lower().startswith(_WEB_PAGE):
        return 'a web page'
    return f'of an unknown format (it begins with {start[:16]!r})'


def _read_safetensors(path: Path) -> CheckpointFile:
    try:
        with safe_open(path, framework='pt') as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
            return CheckpointFile(weights, file.metadata() or {})
    except Exception as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path, mapped: bool) -> Mapping[str, object]:
    try:
        # Mapped, a large model is in memory once and not twice while it is copied into the network; of a Path torch 2.1
        # and 2.2 map none.
        content = torch.load(str(path), map_location='cpu', weights_only=True, mmap=mapped)
    except Exception as error:
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise CorruptCheckpointError(f'{path} holds a {type(content).__name__}, expected names and tensors')
    return content


def _damaged(path: Path, error: Exception) -> CorruptCheckpointError:
    # The readers raise whatever the damaged bytes lead them to.
    reason = str(error).strip().split('\n', 1)[0]
    return CorruptCheckpointError(
        f'{path} is truncated, damaged, or holds other things than tensors ({path.stat().st_size} bytes; '
        f'{type(error).__name__}: {reason}); download it again'
    )
