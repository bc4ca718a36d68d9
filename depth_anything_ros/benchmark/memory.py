"""How much memory a process took."""

from __future__ import annotations

import resource

_KIB_A_MIB = 1024
_BYTES_A_MIB = 1024 * 1024


def memory() -> dict[str, float]:
    """MiB: the most that the process had in memory, and on a GPU."""
    import torch  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_A_MIB
    used = torch.cuda.max_memory_allocated() / _BYTES_A_MIB if torch.cuda.is_available() else 0.0
    return {'memory_mib': peak, 'gpu_memory_mib': used}
