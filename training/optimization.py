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
_FUSED_ON_CPU = '2.4'


def make_optimizer(network: DepthAnything, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with a learning rate for the encoder and one for all else (V1 paper, section 4.1).

    The groups say their `name` and `base_lr`. Without settings.fused_optimizer: the same steps on every device.

    Raises:
        RecipeError: this torch has no fused kernel for CPUs, where the weights are until they go to their device.
    """
    encoder = list(network.encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    decoder = [parameter for parameter in network.parameters() if id(parameter) not in known]
    groups = [
        {'params': encoder, 'name': ENCODER, 'lr': settings.encoder_lr, 'base_lr': settings.encoder_lr},
        {'params': decoder, 'name': DECODER, 'lr': settings.decoder_lr, 'base_lr': settings.decoder_lr},
    ]
    options = {'betas': tuple(settings.betas), 'weight_decay': settings.weight_decay}
    if not settings.fused_optimizer:
        return torch.optim.AdamW(groups, **options)
    if torch.__version__ < _FUSED_ON_CPU:
        raise RecipeError(
            f'fused_optimizer needs torch {_FUSED_ON_CPU} or newer, here is {torch.__version__}: set it to false'
        )
    return torch.optim.AdamW(groups, **options, fused=True)


def fit_optimizer_state(optimizer: torch.optim.Optimizer, *, fused: bool) -> None:
    """Make of the state that a checkpoint has brought what this run's options would have made.

    It comes with the kernel and the memory layout of the run that saved it. The fused kernel wants the number of steps
    on the weights' device, and walks through weights and moments side by side, whatever the layout of either.
    """
    for group in optimizer.param_groups:
        group['fused'] = fused or None
        for parameter in group['params']:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if name == 'step':
                    state[name] = value.to(parameter.device if fused else 'cpu', torch.float32)
                elif value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter).copy_(value)


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
