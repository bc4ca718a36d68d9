"""What ends a training that has failed, before it costs another day."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import DivergedError

# Share of zeros at which a ReLU output counts as closed, and how long it must have been: AdamW's momentum may still
# open it again, a gradient cannot.
_CLOSED = 0.999
_PATIENCE = 10
# From 2 to the 16 to 2 to the -24, float16's smallest number.
_HALVINGS = 40
# A map whose values span less, relative to the largest, has no more contrast than float32's rounding.
_LEAST_SPREAD = 1e-6
_ADVICE = (
    'the checkpoints from before it are kept; try lower learning rates, warmup_steps, clip_grad 1.0, '
    'or mixed_precision bf16 or no in place of fp16'
)


def output_health(prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Of maps (B, H, W): the share of zeros, and the share of images that are constant, as scalars."""
    flat = prediction.detach().float().flatten(1)
    low, high = flat.aminmax(dim=1)
    constant = high - low <= _LEAST_SPREAD * high.abs()
    return (flat == 0).float().mean(), constant.float().mean()


def check_finite(step: int, terms: Mapping[str, float]) -> None:
    """Raise DivergedError if a loss is not finite; it names the step and all losses."""
    if not all(map(math.isfinite, terms.values())):
        parts = ', '.join(f'{name} {value:.4g}' for name, value in terms.items())
        raise DivergedError(f'step {step}: the loss is not finite ({parts}); {_ADVICE}')


@dataclass
class GradientGuard:
    """Notices that the gradient is not finite.

    Of fp16 that is to be expected now and then: its scaler leaves such a step out and halves the scale for the next.
    A gradient that is finite at no scale would train nothing to the end, at a loss that looks like any other.

    Attributes:
        patience: so many such steps in a row are one too many.
    """

    patience: int = 1
    steps: int = 0

    @classmethod
    def for_scaler(cls) -> GradientGuard:
        """One that lets the scaler go from what it starts with (2 to the 16) to what is of no use to anything."""
        return cls(patience=_HALVINGS)

    def check(self, step: int, norm: float) -> None:
        """Count a step with its gradient's norm; raises DivergedError once patience is at its end."""
        self.steps = 0 if math.isfinite(norm) else self.steps + 1
        if self.steps >= self.patience:
            row = f', for {self.steps} steps' if self.patience > 1 else ''
            raise DivergedError(f'step {step}: the gradient is not finite (norm {norm}{row}); {_ADVICE}')


@dataclass
class CollapseGuard:
    """Notices that a relative network's output has become zero or constant.

    Its losses take away shift and scale, and its last ReLU passes no gradient where it is closed: so such a network
    learns nothing for ever, at a loss that looks harmless.
    """

    steps: int = 0

    def check(self, step: int, zeros: float, constant: float) -> None:
        """Count a step; raises DivergedError after 10 with collapsed output in a row.

        Args:
            step: its number.
            zeros: share of zeros in the output of the whole batch.
            constant: share of images whose output is constant.
        """
        self.steps = self.steps + 1 if zeros >= _CLOSED or constant >= 1 else 0
        if self.steps >= _PATIENCE:
            raise DivergedError(
                f'step {step}: the output has collapsed ({zeros:.1%} zeros, {constant:.0%} of the images constant, for '
                f'{self.steps} steps): the last ReLU passes no gradient there, so it would stay so; {_ADVICE}'
            )


def unused_parameters(model: torch.nn.Module) -> list[str]:
    """Names of the parameters that are to learn and got no gradient in the last backward pass."""
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
