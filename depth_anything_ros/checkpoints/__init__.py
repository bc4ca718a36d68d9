"""From a name to weights: the catalogue of published models, and loading, saving and refusing of files."""

from depth_anything_ros.checkpoints.catalogue import (
    DEFAULT_MODEL,
    UNTRAINED,
    CatalogueEntry,
    catalogue,
    model_names,
    name_or_default,
)
from depth_anything_ros.checkpoints.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    CorruptCheckpointError,
    LicenseNotAcceptedError,
    UnknownModelError,
    UnnamedCheckpointError,
)
from depth_anything_ros.checkpoints.files import save
from depth_anything_ros.checkpoints.loading import load

__all__ = [
    'DEFAULT_MODEL',
    'UNTRAINED',
    'CatalogueEntry',
    'CheckpointError',
    'CheckpointMismatchError',
    'CheckpointNotFoundError',
    'CheckpointUnavailableError',
    'CorruptCheckpointError',
    'LicenseNotAcceptedError',
    'UnknownModelError',
    'UnnamedCheckpointError',
    'catalogue',
    'load',
    'model_names',
    'name_or_default',
    'save',
]
