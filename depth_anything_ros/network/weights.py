"""Where a network's weights came from: what a user of the model must be able to tell others."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class WeightSource:
    """The origin of a network's weights.

    Attributes:
        name: catalogue name of the model, or `random` for a network nobody has given weights.
        trained: False while the weights are random and the output means nothing.
        checkpoint: the file they were read from, if any.
        licence: SPDX identifier of the weights' licence, if known.
    """

    name: str
    trained: bool
    checkpoint: Path | None = None
    licence: str | None = None

    @cached_property
    def sha256(self) -> str | None:
        """Hex digest of the checkpoint file, None without one. Read on first use: seconds for the large models."""
        if self.checkpoint is None:
            return None
        digest = hashlib.sha256()
        with self.checkpoint.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
