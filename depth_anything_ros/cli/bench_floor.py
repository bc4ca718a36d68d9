"""What a GPU's multiplication of matrices would take for a network's operations: the yardstick of the same GPU."""

from __future__ import annotations

from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

from depth_anything_ros.network import ARCHITECTURES, DepthAnything

# Large enough that what is around the multiplications does not count.
_SIDE = 8192
_WARM_UP_PRODUCTS, _PRODUCTS = 3, 10
_DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def matrix_floor(architecture: str, size: tuple[int, int], device: str, precision: str) -> dict[str, float]:
    """The floor of the network's time on a CUDA device.

    Args:
        architecture: a key of ARCHITECTURES.
        size: (width, height) of the network's input.
        device: as torch names it.
        precision: 'fp32', 'fp16' or 'bf16'.

    Returns:
        gflop: 1e9 operations of one image, a multiplication and an addition being two, of convolutions, linear layers
        and attention. matrix_tflops: 1e12 of them a second, in a product of two matrices of 8192 x 8192 random numbers
        in the precision. floor_ms: what gflop takes at that rate.
    """
    operations = _operations(architecture, size, device)
    rate = _matrix_rate(device, _DTYPES[precision])
    return {'gflop': operations / 1e9, 'matrix_tflops': rate / 1e12, 'floor_ms': 1e3 * operations / rate}


def _operations(architecture: str, size: tuple[int, int], device: str) -> float:
    network = DepthAnything(ARCHITECTURES[architecture]).to(device).eval()
    width, height = size
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, height, width, device=device))
    return counter.get_total_flops()


def _matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Operations a second; random numbers, since zeros are multiplied faster."""
    one, other = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(2))
    for _ in range(_WARM_UP_PRODUCTS):
        one @ other
    torch.cuda.synchronize(device)
    start = perf_counter()
    for _ in range(_PRODUCTS):
        one @ other
    torch.cuda.synchronize(device)
    return 2 * _SIDE**3 * _PRODUCTS / (perf_counter() - start)
