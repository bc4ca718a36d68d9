"""How much memory a process took."""

from __future__ import annotations

import resource

_KIB_A_MIB = 1024
_BYTES_A_MIB = 1024 * 1024


def memory(device: str = 'cuda') -> dict[str, float]:
    """MiB: the most that the process had in memory, and on a GPU.

    device: which, as torch names it, 'cuda' the one that torch takes; on what is none it had 0.
    """
    import torch  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_A_MIB
    on_gpu = device.startswith('cuda') and torch.cuda.is_available()
    used = torch.cuda.max_memory_allocated(device) / _BYTES_A_MIB if on_gpu else 0.0
    return {'memory_mib': peak, 'gpu_memory_mib': used}
