"""What has been exported, run once more and held against torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from depth_anything_ros.estimation.backends.interface import LIMITS, Run, deviation
from depth_anything_ros.estimation.backends.torch_backends import forward
from depth_anything_ros.estimation.errors import BackendUnavailableError
from depth_anything_ros.estimation.export import INPUT_NAME, ExportError, openvino_core
from depth_anything_ros.network import DepthAnything

if TYPE_CHECKING:
    import openvino


def check_export(network: DepthAnything, exported: Run, batches: Sequence[torch.Tensor], precision: str) -> float:
    """The largest deviation from torch fp32 over the batches; raises ExportError if it is beyond the precision's limit.

    network: on the CPU, in float32.
    """
    reference = forward(network.eval(), torch.device('cpu'), 'fp32')
    deviations = [deviation(exported(batch), reference(batch)) for batch in batches]
    worst = max(deviations)
    if not all(found <= LIMITS[precision] for found in deviations):
        raise ExportError(
            f'{network.architecture.name} in {precision} differs from torch fp32 by {worst:.2%} on one of '
            f'{len(batches)} pictures (mean {sum(deviations) / len(deviations):.2%}), more than '
            f'{LIMITS[precision]:.1%}: nothing is written; take another precision'
        )
    return worst


def onnx_run(content: bytes) -> Run:
    """An ONNX model on the CPU, by ONNX Runtime; raises BackendUnavailableError."""
    try:
        import onnxruntime  # noqa: PLC0415 - optional
    except ImportError as error:
        raise BackendUnavailableError(
            'ONNX Runtime, which checks the file, is not installed: pip install onnxruntime'
        ) from error
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return lambda batch: torch.from_numpy(session.run(None, {INPUT_NAME: batch.numpy()})[0])


def openvino_run(model: openvino.Model | Path) -> Run:
    """An OpenVINO model, or the file of one, on the CPU, in float32 where it is not int8.

    Raises BackendUnavailableError.
    """
    compiled = openvino_core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return lambda batch: torch.from_numpy(compiled(batch.numpy())[0].copy())
