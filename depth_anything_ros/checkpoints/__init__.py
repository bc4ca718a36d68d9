"""From a name to weights: the catalogue of published models, and loading, saving and refusing of files."""

from .catalogue import UNTRAINED, CatalogueEntry, catalogue, model_names
from .errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    CorruptCheckpointError,
    LicenseNotAcceptedError,
    UnknownModelError,
    UnnamedCheckpointError,
)
from .files import save
from .loading import load

__all__ = [
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
    'save',
]
