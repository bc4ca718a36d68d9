"""Where a network's weights came from: what a user of the model must be able to tell others."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn


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


def weights_fingerprint(module: nn.Module) -> str:
    """A digest of a module's weights, wherever they were read: 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
