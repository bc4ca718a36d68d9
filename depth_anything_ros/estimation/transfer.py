"""Between the host's memory and a device's, through page-locked memory where that is faster.

PyTorch's allocator gives a page-locked block out again when nobody holds it and no copy uses it any more, so after the
first frames none is made anew, and none is overwritten that somebody still reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def images_to_device(images: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Images uint8 (H, W, 3) of one size as uint8 (B, H, W, 3) on the device; on CUDA the copy is not waited for."""
    staged = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=device.type == 'cuda')
    for slot, image in zip(staged.numpy(), images, strict=True):
        slot[...] = image
    return staged.to(device, non_blocking=True)


def numbers_to_device(numbers: Sequence[float], device: torch.device) -> torch.Tensor:
    """Numbers as float32 (N,) on the device; on CUDA the copy is not waited for."""
    staged = torch.tensor(numbers, dtype=torch.float32, pin_memory=device.type == 'cuda')
    return staged.to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> np.ndarray:
    """The tensor as an array, when all work before it on its device is done."""
    if tensor.device.type != 'cuda':
        return tensor.cpu().numpy()
    staged = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    staged.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return staged.numpy()
