"""The floor that a GPU's own multiplication of matrices sets to a network's time."""

import pytest
import torch

from depth_anything_ros.cli.bench_floor import matrix_floor


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
def test_the_floor_is_the_networks_operations_at_the_rate_of_matrices():
    torch.cuda.empty_cache()
    one = matrix_floor('v2-small', (686, 518), 'cuda', 'fp32')
    small = matrix_floor('v2-small', (518, 392), 'cuda', 'fp32')
    # 77 billion in linear layers and 29 in convolutions; attention, of 1,814 tokens with each other, has 60.7.
    assert one['gflop'] == pytest.approx(166.5, rel=0.02)
    # Attention grows with the square of the pixels, all else with the pixels.
    assert one['gflop'] / small['gflop'] > 686 * 518 / (518 * 392)
    assert one['floor_ms'] == pytest.approx(one['gflop'] / one['matrix_tflops'])
