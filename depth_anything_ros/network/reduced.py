"""A network made ready to run in reduced precision, so that no run does again what is the same for all."""

from copy import deepcopy

import torch
from torch import nn

from depth_anything_ros.network.encoder import DinoV2Encoder
from depth_anything_ros.network.model import DepthAnything

# Whose weights autocast casts at each run.
_CAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def reduced(network: DepthAnything, dtype: torch.dtype) -> DepthAnything:
    """A copy of the network for inference under autocast to dtype, which rounds as the network itself does there.

    The weights that autocast casts at each run are cast; LayerScale is part of the layer before it. What is computed in
    float32 stays so: norms, the sum along the transformer's blocks, the head's last convolution. On CUDA a
    transformer's convolutions have their channels last, as the tensor cores want them. (A pyramid's depthwise ones are
    slower so.) On an H100 all of it took ViT-S at 518x686 from 2.5 to 1.9 ms.
    """
    network = deepcopy(network)
    if isinstance(network.encoder, DinoV2Encoder):
        for block in network.encoder.vit.blocks:
            block.ls1 = _folded(block.ls1, into=block.attn.proj)
            block.ls2 = _folded(block.ls2, into=block.mlp.fc2)
    for module in network.modules():
        if isinstance(module, _CAST) and module is not network.head.output:
            module.to(dtype)
    on_cuda = next(network.parameters()).is_cuda
    if on_cuda and not network.architecture.pyramid:
        network.to(memory_format=torch.channels_last)
    return network


def _folded(scale: nn.Module, into: nn.Linear) -> nn.Module:
    """What is left to do of a scale of channels once the layer before it does it: nothing."""
    with torch.no_grad():
        into.weight.mul_(scale.gamma[:, None])
        into.bias.mul_(scale.gamma)
    return nn.Identity()
