"""Networks as ONNX files and as OpenVINO IR."""

from __future__ import annotations

import copy
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from depth_anything_ros.estimation.errors import BackendUnavailableError
from depth_anything_ros.network import DepthAnything

if TYPE_CHECKING:
    from collections.abc import Iterator

    import openvino

OPSET = 18
"""Of ONNX files: what the exporter writes without converting."""
INPUT_NAME = 'image'

# Protobuf's limit, and so that of an ONNX file with its weights in it.
_MAX_ONNX_BYTES = 2**31 - 2**20


class ExportError(BackendUnavailableError):
    """The network cannot be written in this form."""


class _Half(nn.Module):
    """The network in float16, with float32 at both ends."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image.half()).float()


def to_onnx(network: DepthAnything, shape: tuple[int, ...], precision: str = 'fp32', *, dynamic: bool = False) -> bytes:
    """Make an ONNX model of a network: float32 `image` (B, 3, H, W) to float32 `disparity` or `depth` (B, H, W).

    Its metadata says what the input is normalised with, what the sides are multiples of, and the weights' licence.

    Args:
        network: on the CPU, in float32.
        shape: (B, 3, H, W).
        precision: what it computes in between, `fp32` or `fp16`.
        dynamic: any batch, height and width; convolutional networks only.

    Raises:
        BackendUnavailableError: a package is missing, or is too old.
        ExportError: the network is too large for a file, or cannot be dynamic.
    """
    require_onnx()
    if sum(tensor.nbytes for tensor in network.state_dict().values()) > _MAX_ONNX_BYTES:
        raise ExportError(f"{network.architecture.name} is larger than an ONNX file's 2 GB: take OpenVINO IR or torch")
    exported = _Half(network) if precision == 'fp16' else network
    with _failing_as('ONNX'), torch.inference_mode():
        program = torch.onnx.export(
            exported.eval(),
            (_example(network, shape, dynamic),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[network.architecture.kind],
            dynamic_shapes=_dynamic(network) if dynamic else None,
        )
    model = program.model_proto
    for name, value in _metadata(network).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    return model.SerializeToString()


def to_openvino(network: DepthAnything, shape: tuple[int, ...], *, dynamic: bool = False) -> openvino.Model:
    """Make an OpenVINO model of a network, with inputs and outputs as of to_onnx.

    Raises BackendUnavailableError and ExportError as that does.
    """
    openvino_core()
    import openvino  # noqa: PLC0415 - optional

    with _failing_as('OpenVINO IR'), torch.inference_mode():
        program = torch.export.export(
            network.eval(),
            (_example(network, shape, dynamic),),
            dynamic_shapes=_dynamic(network) if dynamic else None,
        )
        model = openvino.convert_model(program)
        # It forgets the shape. Of one that is known, the CPU has nothing to work out at each image.
        model.reshape([-1, 3, -1, -1] if dynamic else list(shape))
    model.inputs[0].get_tensor().set_names({INPUT_NAME})
    model.outputs[0].get_tensor().set_names({network.architecture.kind})
    for name, value in _metadata(network).items():
        model.set_rt_info(value, ['depth_anything_ros', name])
    return model


def save_openvino(model: openvino.Model, path: Path, *, half: bool = False) -> None:
    """Write an OpenVINO model: the XML at path, the weights, in float16 if half, beside it in .bin."""
    import openvino  # noqa: PLC0415 - optional

    openvino.save_model(model, path, compress_to_fp16=half)


def pack_openvino(model: openvino.Model) -> bytes:
    """An OpenVINO model as one string of bytes: the length of its XML, that, and the weights.

    Raises ExportError if there is no room for it among the temporary files.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'model.xml'
            save_openvino(model, path)
            xml = path.read_bytes()
            content = len(xml).to_bytes(8, 'little') + xml + path.with_suffix('.bin').read_bytes()
        unpack_openvino(content)  # on a full disk OpenVINO writes a part of the weights and says nothing
    except (OSError, RuntimeError) as error:
        raise ExportError(
            f'OpenVINO IR cannot be written as a temporary file ({openvino_reason(error)}): make room there, or name a '
            'folder that has it with $TMPDIR'
        ) from error
    return content


def unpack_openvino(content: bytes) -> openvino.Model:
    """The model that pack_openvino had."""
    length = int.from_bytes(content[:8], 'little')
    return openvino_core().read_model(content[8 : 8 + length], content[8 + length :])


def require_onnx() -> None:
    """Raise BackendUnavailableError unless ONNX models can be written here."""
    try:
        import onnx  # noqa: F401, PLC0415 - optional
        import onnxscript  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise BackendUnavailableError(
            f'{error.name} is not installed, which writes ONNX: pip install onnx onnxscript'
        ) from error
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6):
        raise BackendUnavailableError(f'to write ONNX needs torch 2.6 or later, here is {torch.__version__}')


def openvino_core() -> openvino.Core:
    """OpenVINO; raises BackendUnavailableError."""
    try:
        import openvino  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise BackendUnavailableError('OpenVINO is not installed: pip install openvino') from error
    try:
        return _the_core()
    except RuntimeError as error:
        raise BackendUnavailableError(f'OpenVINO is installed but does not start: {openvino_reason(error)}') from error


def openvino_reason(error: Exception) -> str:
    """What OpenVINO complains of: where in its source it does so comes first."""
    return str(error).strip().rsplit('\n', 1)[-1]


@cache
def _the_core() -> openvino.Core:
    """One for the whole process, and for good.

    Each gives its thread a stack for signals and at its end puts back the one before. When the older of two has ended,
    that one is gone, and the next signal (Ctrl-C, the end of a child) kills the process (seen with OpenVINO 2026.4).
    """
    import openvino  # noqa: PLC0415 - optional

    return openvino.Core()


def _example(network: DepthAnything, shape: tuple[int, ...], dynamic: bool) -> torch.Tensor:
    # Of a dynamic shape no side may be 1, nor two of them equal: what is by chance would be taken for a rule.
    batch, channels, height, width = shape
    return torch.zeros(max(batch, 2), channels, height, width + network.multiple) if dynamic else torch.zeros(shape)


def _dynamic(network: DepthAnything) -> tuple[dict[int, object]]:
    if not network.architecture.pyramid:
        raise ExportError(
            f"{network.architecture.name}'s position embedding is a constant of one input size: export it once for "
            'each; dynamic sizes are for tiny and lite*'
        )
    dim = torch.export.Dim
    sides = (network.multiple * dim(name, min=1, max=256) for name in ('rows', 'columns'))
    return (dict(zip((0, 2, 3), (dim('batch', min=1, max=64), *sides), strict=True)),)


def _metadata(network: DepthAnything) -> dict[str, str]:
    architecture = network.architecture
    return {
        'model': network.source.name,
        'output': 'metres' if architecture.kind == 'depth' else 'disparity: inverse depth up to scale and shift',
        'input': 'RGB in 0..1, less mean 0.485 0.456 0.406, over deviation 0.229 0.224 0.225',
        'sides_are_multiples_of': str(network.multiple),
        'licence': network.source.licence or 'unknown',
    }


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # the exporters raise whatever they come across
        reason = str(error).strip().split('\n', 1)[0]
        raise ExportError(f'the network cannot be exported as {what} ({type(error).__name__}: {reason})') from error
