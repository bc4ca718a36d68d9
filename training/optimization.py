"""How weights are changed: AdamW with two learning rates, their schedule, and the average of the weights."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from depth_anything_ros.network import DepthAnything
from training.errors import RecipeError
from training.settings import TrainSettings

ENCODER, DECODER = 'encoder', 'decoder'


def make_optimizer(network: DepthAnything, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with a learning rate for the encoder and one for all else (V1 paper, section 4.1).

    The groups say their `name` and `base_lr`. Without a fused kernel: the same steps on every device.
    """
    encoder = list(network.encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    decoder = [parameter for parameter in network.parameters() if id(parameter) not in known]
    groups = [
        {'params': encoder, 'name': ENCODER, 'lr': settings.encoder_lr, 'base_lr': settings.encoder_lr},
        {'params': decoder, 'name': DECODER, 'lr': settings.decoder_lr, 'base_lr': settings.decoder_lr},
    ]
    return torch.optim.AdamW(groups, betas=tuple(settings.betas), weight_decay=settings.weight_decay)


def learning_rate_factor(step: int, settings: TrainSettings) -> float:
    """What the learning rates are multiplied with at a step; a function of the step alone, so a resume needs no state.

    Linear warm-up to 1, then with u from 0 to 1 over the steps that remain: 1, 1 - u, (1 - u)^poly_power, or
    (1 + cos(pi u)) / 2.
    """
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    done = (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)
    return {
        'constant': 1.0,
        'linear': 1 - done,
        'poly': (1 - done) ** settings.poly_power,
        'cosine': (1 + math.cos(math.pi * done)) / 2,
    }[settings.schedule]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set each group's learning rate; returns them by the group's name."""
    for group in optimizer.param_groups:
        group['lr'] = group['base_lr'] * factor
    return {group['name']: group['lr'] for group in optimizer.param_groups}


def average_of_weights(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights follow it: w' <- decay * w' + (1 - decay) * w at each update_parameters."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)).eval()


def checkpoint_blocks(network: DepthAnything) -> None:
    """Compute the transformer blocks' activations again in the backward pass instead of keeping them.

    Raises:
        RecipeError: the network has no transformer blocks.
    """
    if network.architecture.pyramid:
        raise RecipeError(
            f'gradient_checkpointing is for transformer blocks, which {network.architecture.name} does not have'
        )
    for block in network.encoder.vit.blocks:
        # In place of timm's own switch, which its own forward pass alone looks at.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
