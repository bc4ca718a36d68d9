"""Official weights into our modules: the names of one in terms of the other, and what to say if they differ."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from depth_anything_ros.network.architectures import ARCHITECTURES, Architecture

# Our name -> the official one. The official head counts its levels from 1.
_RULES = (
    (r'^encoder\.vit\.', 'pretrained.'),
    (r'^reassemble\.project\.', 'depth_head.projects.'),
    (r'^reassemble\.resample\.', 'depth_head.resize_layers.'),
    *((rf'^head\.lateral\.{level}\.', f'depth_head.scratch.layer{level + 1}_rn.') for level in range(4)),
    *((rf'^head\.fusion\.{level}\.', f'depth_head.scratch.refinenet{level + 1}.') for level in range(4)),
    (r'\.merge\.', '.resConfUnit1.'),
    (r'\.refine\.', '.resConfUnit2.'),
    (r'(?<=refinenet\d\.)out\.', 'out_conv.'),
    (r'^head\.smooth\.', 'depth_head.scratch.output_conv1.'),
    (r'^head\.hidden\.', 'depth_head.scratch.output_conv2.0.'),
    (r'^head\.output\.', 'depth_head.scratch.output_conv2.2.'),
)
# DINOv2's giant has gated feed-forward layers, packed by timm under the names of the plain ones.
_SWIGLU_RULES = ((r'\.mlp\.fc1\.', '.mlp.w12.'), (r'\.mlp\.fc2\.', '.mlp.w3.'))
# In official files, never used: masking belongs to DINOv2's own training, and the coarsest level merges nothing.
_UNUSED = re.compile(r'pretrained\.mask_token$|depth_head\.scratch\.refinenet4\.resConfUnit1\.')

_FOREIGN_LAYOUTS = {
    'backbone.embeddings.': 'the Hugging Face transformers export; take the .pth file of the same model instead',
    'core.core.': 'a V1 metric (ZoeDepth) model, which is not supported; use v2-*-indoor or v2-*-outdoor',
    'encoder.vit.': 'saved by this package without its metadata; save it with checkpoints.save()',
    'encoder.levels.': 'a convolutional network of this package, another one or as another version has it; run it with '
    'that version, or train it again',
    'blocks.': 'a bare DINOv2 encoder without a depth head',
}


class StateDictMismatchError(ValueError):
    """Weights do not fit the network: the message names the first difference and what they probably are."""


def official_name(name: str, architecture: Architecture) -> str:
    """Translate a name in `DepthAnything.state_dict()` into the official repositories' name for it."""
    rules = _RULES + _SWIGLU_RULES if 'giant' in architecture.encoder else _RULES
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def from_official(
    state_dict: Mapping[str, object], ours: Mapping[str, Tensor], architecture: Architecture
) -> dict[str, Tensor]:
    """Rename official weights to ours.

    Args:
        state_dict: official weights, perhaps wrapped.
        ours: the network's own state dict, for names and shapes.
        architecture: the network.

    Returns:
        The tensors of `state_dict` under the names of `ours`.

    Raises:
        StateDictMismatchError: a name is missing or unknown, or a shape differs.
    """
    found = {name: value for name, value in _unwrap(state_dict).items() if not _UNUSED.match(name)}
    names = {official_name(name, architecture): name for name in ours}
    check_fit(found, {official: ours[name] for official, name in names.items()}, architecture)
    return {names[official]: value for official, value in found.items()}


def check_fit(found: Mapping[str, object], expected: Mapping[str, Tensor], architecture: Architecture) -> None:
    """Compare names and shapes of two state dicts.

    Raises:
        StateDictMismatchError: they differ.
    """
    problems = list(_differences(found, expected))
    if problems:
        others = f', and {len(problems) - 1} more' if len(problems) > 1 else ''
        message = f'the weights do not fit {architecture.name}: {problems[0]}{others}'
        raise StateDictMismatchError('; '.join([message, *_guess(found, architecture)]))


def _unwrap(state_dict: Mapping[str, object]) -> Mapping[str, object]:
    for wrapper in ('model', 'state_dict'):
        inner = state_dict.get(wrapper)
        if isinstance(inner, Mapping):
            return _unwrap(inner)
    # A file may hold anything; what is no name will be reported as an unknown one.
    names = [str(name) for name in state_dict]
    if all(name.startswith('module.') for name in names):
        names = [name.removeprefix('module.') for name in names]
    return dict(zip(names, state_dict.values(), strict=True))


def _differences(found: Mapping[str, object], expected: Mapping[str, Tensor]) -> Iterable[str]:
    for name, tensor in expected.items():
        if name not in found:
            yield f'{name!r} is missing'
        elif not isinstance(found[name], Tensor):
            yield f'{name!r} is a {type(found[name]).__name__}, expected a tensor'
        elif found[name].shape != tensor.shape:
            yield f'{name!r} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}'
    for name in found:
        if name not in expected:
            yield f'{name!r} is unknown'


def _guess(found: Mapping[str, object], architecture: Architecture) -> Iterable[str]:
    """Say what the weights probably are, judged by the encoder's width and depth or by how its names begin."""
    for prefix, description in _FOREIGN_LAYOUTS.items():
        if any(name.startswith(prefix) for name in found):
            yield f'they look like {description}'
            return
    embedding = found.get('pretrained.pos_embed', found.get('encoder.vit.pos_embed'))
    if not isinstance(embedding, Tensor):
        yield 'they do not look like weights of Depth Anything at all'
        return
    width = embedding.shape[-1]
    blocks = len({match[1] for name in found if (match := re.search(r'\.blocks\.(\d+)\.', name))})
    if (width, blocks) != (architecture.width, architecture.blocks):
        names = [a.name for a in ARCHITECTURES.values() if (a.width, a.blocks) == (width, blocks)]
        likely = f', as in {", ".join(names)}' if names else ''
        yield f'they hold an encoder of width {width} with {blocks} blocks{likely}'
