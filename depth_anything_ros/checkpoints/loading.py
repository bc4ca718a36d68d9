"""From a name, a path or both to a network that is ready to run."""

import json
import logging
import os
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from depth_anything_ros.checkpoints.catalogue import (
    UNTRAINED,
    CatalogueEntry,
    catalogue,
    find_entry,
    forbids_commercial_use,
)
from depth_anything_ros.checkpoints.errors import (
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    CorruptCheckpointError,
    LicenseNotAcceptedError,
    UnknownModelError,
    UnnamedCheckpointError,
)
from depth_anything_ros.checkpoints.files import CheckpointFile, read
from depth_anything_ros.network import ARCHITECTURES, Architecture, DepthAnything, StateDictMismatchError, WeightSource
from depth_anything_ros.network.state_dict import check_fit

_log = logging.getLogger(__name__)

_WEIGHTS = Path(__file__).parent / 'weights'
# A robot's network is often there and leads nowhere: do not wait long for the hub's answer.
_HUB_TIMEOUT_S = 5
# Most random networks find the far part of the demo's photograph larger than the near one, which no alignment with a
# positive scale fits. Of this seed's the demo can show the whole way of a frame.
_UNTRAINED_SEED = 24


def load(name: str | None, path: str | Path | None = None, accept_license: bool = False) -> DepthAnything:
    """Load a model.

    Without `path` the file of `tiny` is this package's. Others are looked for in the checkpoint folder
    (`$DEPTH_ANYTHING_CHECKPOINTS`, or else `~/.cache/depth_anything_ros`; .safetensors before .pth), then in the
    cache of the Hugging Face hub, and then downloaded, with a progress bar. A file on this machine is used without
    asking the network.

    Args:
        name: one of `model_names()`. None or '' with a `path` whose file names its network (see `save`).
        path: the file of weights; None or '' to find it by name.
        accept_license: agree to a licence that forbids commercial use.

    Returns:
        The network on the CPU, in float32 and evaluation mode; `source` says where its weights came from.

    Raises:
        CheckpointError: one of its subclasses, for each cause one.
    """
    path = _expanded(path, f'cannot read the checkpoint {path}') if path else None
    if name == UNTRAINED:
        return _untrained(path)
    if not name and path is None:
        raise UnknownModelError(f'name a model: one of {_names()}')
    entry = find_entry(name) if name else None
    if entry:
        _check_licence(entry.name, entry.licence, accept_license)
    path = path or _find(entry)
    file = read(path)
    architecture = _architecture(file, entry, path)
    licence = entry.licence if entry else None
    if file.metadata.get('licence', licence) != licence:
        licence = file.metadata['licence']
        _check_licence(path, licence, accept_license)
    model = _build(architecture)
    try:
        _fill(model, file)
    except StateDictMismatchError as error:
        raise CheckpointMismatchError(f'{path}: {error}') from error
    model.source = WeightSource(architecture.name, trained=True, checkpoint=path, licence=licence)
    _log.info('%s: loaded %s', architecture.name, path)
    return model


def _expanded(path: str | Path, problem: str) -> Path:
    """The path, its ~ replaced; raises CheckpointNotFoundError with the problem if nobody knows the user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise CheckpointNotFoundError(f'{problem}: {error}') from error


def checkpoint_folder() -> Path:
    """Where a user may put downloaded files: `$DEPTH_ANYTHING_CHECKPOINTS` or `~/.cache/depth_anything_ros`.

    Raises:
        CheckpointNotFoundError: the variable names the home of a user whom nobody knows.
    """
    chosen = os.environ.get('DEPTH_ANYTHING_CHECKPOINTS')
    if not chosen:
        return user_cache_folder()
    return _expanded(chosen, f'$DEPTH_ANYTHING_CHECKPOINTS is {chosen}')


def user_cache_folder() -> Path:
    """This package's folder in the user's cache: `$XDG_CACHE_HOME` or `~/.cache`, and the package's name.

    Where nobody knows the user's home (a container with another user's id, say), one of temporary files.
    """
    try:
        return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'depth_anything_ros'
    except RuntimeError:
        return _temporary_folder()


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f'depth_anything_ros-{os.getuid()}'
    _log.warning(
        'neither $HOME nor $XDG_CACHE_HOME is set, and this user is not known: %s is the cache, which does not last',
        folder,
    )
    return folder


def _untrained(path: Path | None) -> DepthAnything:
    if path is not None:
        raise CheckpointMismatchError(f'{UNTRAINED} has random weights and takes no checkpoint, got {path}')
    model = _build(ARCHITECTURES['v2-small'])
    model.source = WeightSource(UNTRAINED, trained=False)
    _log.warning('%s: the weights are random, its depth means nothing', UNTRAINED)
    return model


def _build(architecture: Architecture) -> DepthAnything:
    # A seed of its own: the same network each time, and the caller's random numbers stay what they were.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_UNTRAINED_SEED)
        return DepthAnything(architecture).eval()


def _fill(model: DepthAnything, file: CheckpointFile) -> None:
    if 'architecture' in file.metadata:
        check_fit(file.weights, model.state_dict(), model.architecture)
        model.load_state_dict(file.weights)
    else:
        model.load_official_state_dict(file.weights)


def _architecture(file: CheckpointFile, entry: CatalogueEntry | None, path: Path) -> Architecture:
    recorded = file.metadata.get('architecture')
    if recorded is None and entry is None:
        raise UnnamedCheckpointError(
            f'{path} does not say which network it holds, and it cannot be seen: V1 and V2 files have the same '
            f'names and shapes but are run differently. Give the model with the checkpoint, one of {_names()}'
        )
    if recorded is None:
        return entry.architecture
    if recorded not in ARCHITECTURES:
        raise CheckpointMismatchError(f'{path} is of network {recorded!r}, unknown to this version')
    if entry and entry.name != recorded:
        raise CheckpointMismatchError(f'{path} is of network {recorded}, but {entry.name} was asked for')
    architecture = ARCHITECTURES[recorded]
    try:
        taps = tuple(json.loads(file.metadata['taps']))
        # Older files do not have it.
        output_stride = int(file.metadata.get('output_stride', architecture.output_stride))
        max_depth = float(file.metadata['max_depth']) if 'max_depth' in file.metadata else architecture.max_depth
        focal_px = json.loads(file.metadata.get('canonical_focal_px', json.dumps(architecture.canonical_focal_px)))
        focal_px = None if focal_px is None else float(focal_px)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpointError(
            f'{path}: taps, output_stride, max_depth or canonical_focal_px in its metadata is unreadable: {error}'
        ) from error
    if taps != architecture.taps:
        raise CheckpointMismatchError(f'{path} is to run with taps {taps}, {recorded} has {architecture.taps}')
    if output_stride not in (1, 2):
        raise CheckpointMismatchError(f'{path} is to run with output_stride {output_stride}, this version has 1 and 2')
    return replace(architecture, output_stride=output_stride, max_depth=max_depth, canonical_focal_px=focal_px)


def _check_licence(what: object, licence: str, accepted: bool) -> None:
    if not forbids_commercial_use(licence):
        return
    if not accepted:
        raise LicenseNotAcceptedError(
            f'{what}: the licence of the weights, {licence}, forbids commercial use; set accept_license to true '
            '(--accept-license) if that suits you, or use a model under Apache-2.0: '
            f'{", ".join(entry.name for entry in catalogue() if not entry.non_commercial)}'
        )
    _log.warning('%s: licence %s, no commercial use', what, licence)


def _find(entry: CatalogueEntry) -> Path:
    return _packaged(entry) if entry.packaged else _published(entry)


def _packaged(entry: CatalogueEntry) -> Path:
    path = _WEIGHTS / entry.file_name
    remedy = 'it comes with this package: install it again'
    if not path.is_file():
        raise CheckpointUnavailableError(f'{entry.name}: {path} is not there; {remedy}')
    found = WeightSource(entry.name, trained=True, checkpoint=path).sha256
    if found != entry.sha256:
        raise CorruptCheckpointError(f'{path} is damaged (sha256 {found}, expected {entry.sha256}); {remedy}')
    return path


def _published(entry: CatalogueEntry) -> Path:
    by_hand = checkpoint_folder() / Path(entry.file_name).name
    for candidate in (by_hand.with_suffix('.safetensors'), by_hand):
        if os.path.isfile(candidate):
            return candidate
    if entry.hub_repo is None:
        raise CheckpointUnavailableError(
            f'{entry.name}: its authors have not published the weights; give a file of them as the checkpoint'
        )
    return _from_hub(entry, by_hand)


def _from_hub(entry: CatalogueEntry, by_hand: Path) -> Path:
    # The packaged model starts without the hub's client.
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # noqa: PLC0415
    from huggingface_hub.utils import LocalEntryNotFoundError  # noqa: PLC0415

    address = {'repo_id': entry.hub_repo, 'filename': entry.file_name, 'repo_type': entry.repo_type}
    try:
        return Path(hf_hub_download(**address, local_files_only=True))
    except LocalEntryNotFoundError:
        _log.debug('%s: %s is not in the cache of the hub', entry.name, entry.file_name)
    url = hf_hub_url(**address)
    try:
        # Ask once ourselves: offline, hf_hub_download repeats its first request for half a minute.
        size = get_hf_file_metadata(url, timeout=_HUB_TIMEOUT_S).size
        # The client's progress bar shows on terminals only; a launch file's log gets this line.
        _log.info('%s: downloading %s, %.0f MB', entry.name, url, (size or 0) / 1e6)
        return Path(hf_hub_download(**address))
    except Exception as error:
        # Requests, httpx or xet underneath, by version of the hub's client: their errors have no common base.
        reason = str(error.__cause__ or error).strip().split('\n', 1)[0]
        raise CheckpointUnavailableError(
            f'{entry.name}: {entry.file_name} of {entry.hub_repo} is not on this machine and cannot be '
            f'downloaded ({reason}). Fetch {url} where there is a network and put it at '
            f'{by_hand}, or give its path as the checkpoint'
        ) from error


def _names() -> str:
    return ', '.join(entry.name for entry in catalogue())
