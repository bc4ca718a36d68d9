"""int8 by post-training quantisation (NNCF): a network for one input size, calibrated on pictures of the camera.

Ranges of activations are taken from pictures, so somebody has to bring some. The first frames of a node are not taken:
they show one place, standing still, and a network that was calibrated on them would differ from start to start. So it
is done once, from pictures that the user names (`depth-anything export --precision int8 --images FOLDER`), and a
quarter of them is kept back to see what has become of the depth.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import torch

from depth_anything_ros.estimation.devices import cpu_adds_int8_widely
from depth_anything_ros.estimation.errors import BackendUnavailableError
from depth_anything_ros.estimation.export import to_openvino
from depth_anything_ros.network import DepthAnything

if TYPE_CHECKING:
    import openvino

MIN_PICTURES = 4
_HELD_OUT_EVERY = 4


def hold_out(pictures: Sequence) -> tuple[list, list]:
    """Those to calibrate with, and those to check with: every fourth."""
    held_out = list(pictures[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY])
    return [item for index, item in enumerate(pictures, 1) if index % _HELD_OUT_EVERY], held_out


def quantise(network: DepthAnything, batches: Sequence[torch.Tensor]) -> openvino.Model:
    """Make an int8 OpenVINO model of a network.

    batches: preprocessed pictures (1, 3, H, W) of one size, the more of what the camera sees the better.

    Raises BackendUnavailableError if a package is missing, and ExportError.
    """
    try:
        import nncf  # noqa: PLC0415 - optional
    except ImportError as error:
        raise BackendUnavailableError('NNCF is not installed: pip install nncf') from error
    model = to_openvino(network, tuple(batches[0].shape))
    # Of transformers it also smooths the activations' outliers into the weights.
    kind = None if network.architecture.pyramid else nncf.ModelType.TRANSFORMER
    # Weights of half the range leave room in AVX2's 16 bits: `tiny` is off by 2 % with that, by 11 % without.
    overflow = nncf.OverflowFix.FIRST_LAYER if cpu_adds_int8_widely() else nncf.OverflowFix.ENABLE
    data = nncf.Dataset([batch.numpy() for batch in batches])
    # stdout is for results: NNCF's progress goes beside them.
    with redirect_stdout(sys.stderr):
        return nncf.quantize(
            model,
            data,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            model_type=kind,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
        )
