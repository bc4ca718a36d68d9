"""The models by name: which network, where its weights are, under which licence."""

from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.checkpoints.errors import UnknownModelError
from depth_anything_ros.network import ARCHITECTURES, Architecture

UNTRAINED = 'untrained-small'
"""Name of the network with random weights (always the same ones): for trying out everything but the depth."""
DEFAULT_MODEL = 'tiny'
"""Name of the model that needs no decision: its weights come with this package and may be used for anything."""

# Of weights/tiny.safetensors; `sha256sum` gives it.
_TINY_SHA256 = '2b74df152369efa6c69f1011ffa7f566a8ad49da6149b80675dd140cb9becfe6'
_LETTERS = {'small': 's', 'base': 'b', 'large': 'l', 'giant': 'g'}
_DATASETS = {'indoor': 'Hypersim', 'outdoor': 'VKITTI'}


@dataclass(frozen=True)
class CatalogueEntry:
    """One model.

    Attributes:
        architecture: the network; the entry has its name.
        hub_repo: repository on the Hugging Face hub, None if the weights are not there.
        repo_type: what the hub calls the kind of repository, `model` or `space`.
        file_name: path of the weights in the repository, or in this package's folder of weights.
        licence: SPDX identifier of the weights' licence.
        sha256: hex digest of the weights that come with this package, None of others.
    """

    architecture: Architecture
    hub_repo: str | None
    repo_type: str
    file_name: str
    licence: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What `load` calls the model."""
        return self.architecture.name

    @property
    def taps(self) -> tuple[int, int, int, int]:
        """Encoder blocks the head reads: the only difference of V1 and V2, and not recorded in their files."""
        return self.architecture.taps

    @property
    def max_depth(self) -> float | None:
        """Range of a metric model in metres, None for a relative one."""
        return self.architecture.max_depth

    @property
    def packaged(self) -> bool:
        """Whether the weights come with this package."""
        return self.sha256 is not None

    @property
    def non_commercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return forbids_commercial_use(self.licence)


def forbids_commercial_use(licence: str) -> bool:
    """Whether a licence, by its SPDX identifier, is one of Creative Commons' non-commercial ones."""
    return 'NC' in licence.upper().split('-')


def _entry(architecture: Architecture) -> CatalogueEntry:
    version, size, *scene = architecture.name.split('-')
    encoder = f'vit{_LETTERS[size]}'
    if version == 'v1':
        repo, file_name = 'LiheYoung/Depth-Anything', f'checkpoints/depth_anything_{encoder}14.pth'
        return CatalogueEntry(architecture, repo, 'space', file_name, 'Apache-2.0')
    if scene:
        dataset = _DATASETS[scene[0]]
        repo = f'depth-anything/Depth-Anything-V2-Metric-{dataset}-{size.capitalize()}'
        file_name = f'depth_anything_v2_metric_{dataset.lower()}_{encoder}.pth'
    else:
        repo = None if size == 'giant' else f'depth-anything/Depth-Anything-V2-{size.capitalize()}'
        file_name = f'depth_anything_v2_{encoder}.pth'
    licence = 'Apache-2.0' if size == 'small' else 'CC-BY-NC-4.0'
    # Records of the metric models' licences differ (the hub says Apache-2.0 of some). We keep the strictest:
    # that of the relative model, and for Virtual KITTI's models that of the data.
    if scene == ['outdoor']:
        licence = 'CC-BY-NC-SA-3.0'
    return CatalogueEntry(architecture, repo, 'model', file_name, licence)


# lite* have no published weights: they come from somebody's training, with a file.
_ENTRIES = (
    CatalogueEntry(ARCHITECTURES['tiny'], None, 'model', 'tiny.safetensors', 'Apache-2.0', _TINY_SHA256),
    *(_entry(architecture) for architecture in ARCHITECTURES.values() if not architecture.pyramid),
)


def catalogue() -> tuple[CatalogueEntry, ...]:
    """All models: the packaged one, then the papers'."""
    return _ENTRIES


def model_names() -> tuple[str, ...]:
    """All names that `load` takes: the catalogue's and the untrained network's."""
    return (*(entry.name for entry in _ENTRIES), UNTRAINED)


def find_entry(name: str) -> CatalogueEntry:
    """Look a name up in the catalogue.

    Raises:
        UnknownModelError: it is not there.
    """
    for entry in _ENTRIES:
        if entry.name == name:
            return entry
    raise UnknownModelError(f'unknown model {name!r}; choose one of {", ".join(model_names())}')


def name_or_default(name: str | None, path: str | Path | None) -> str | None:
    """The name to load where a user may leave it out: the default model, or, with a file, what that says of itself."""
    return name or (None if path else DEFAULT_MODEL)
