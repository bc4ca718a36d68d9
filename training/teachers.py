"""Teachers of any make: networks of this package, official checkpoints, and ONNX models."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation import (
    UNAVAILABLE_ERRORS,
    DepthEstimator,
    NonFinitePredictionError,
    PrecisionUnavailableError,
)
from depth_anything_ros.estimation.preprocessing import network_size, preprocess
from depth_anything_ros.network import DepthAnything, weights_fingerprint
from training.errors import DataError, RecipeError
from training.initial import official_input_size, trained_network
from training.recipe import free

# The patch of DINOv2: what an ONNX model with free sizes takes multiples of, unless its recipe says otherwise.
_PATCH = 14


@dataclass
class TeacherSpec:
    """A teacher as a recipe names it.

    Attributes:
        teacher: a file (.safetensors, .pth, .onnx), or the name of a published model.
        architecture: of a file that does not say which network it holds, as the official .pth files.
        kind: of an ONNX model, what it puts out: `disparity` or `depth`. The others know.
        multiple: of an ONNX model with free sizes, what the sides of its input are multiples of.
        input_size: what the image's shorter side is scaled to, in pixels; 0: the network's
            own, of an ONNX model 518 or the nearest multiple.
        also_at: further such sizes at which it sees each image too.
        mirrored: let it see each image's mirror image too.
        accept_license: agree to a licence that forbids commercial use.
        device, precision, backend: of the predictions, see DepthEstimator. Other backends than torch compile for each
            size of image and of batch. Precision `auto` depends on a worker's first image.
    """

    teacher: str = free('')
    architecture: str = ''
    kind: str = 'disparity'
    multiple: int = _PATCH
    input_size: int = 0
    also_at: list[int] = field(default_factory=list)
    mirrored: bool = False
    accept_license: bool = free(False)
    device: str = free('auto')
    precision: str = 'fp32'
    backend: str = 'torch'

    def check(self) -> None:
        """Raise ValueError for a value out of range."""
        if self.kind not in ('disparity', 'depth'):
            raise ValueError(f'kind must be disparity or depth, got {self.kind!r}')
        if self.multiple < 1 or self.input_size < 0:
            raise ValueError(
                f'multiple must be at least 1 and input_size at least 0, got {self.multiple} and {self.input_size}'
            )
        if not all(size > 0 for size in self.also_at):
            raise ValueError(f'also_at are sizes of more than 0, got {self.also_at}')

    @property
    def onnx(self) -> bool:
        """Whether it is an ONNX model."""
        return Path(self.teacher).suffix == '.onnx'


class Teacher(Protocol):
    """Something that sees depth."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Disparity (h, w) float32 at the teacher's own size, for each uint8 RGB image (H, W, 3), all of one size.

        Raises NonFinitePredictionError, and ImageShapeError for an image that it cannot take.
        """


def open_teacher(spec: TeacherSpec) -> Teacher:
    """Load it onto its device; once for each size at which it sees an image.

    Raises:
        RecipeError: none is named; its device, backend, precision or size is not to be had.
        DataError: its weights are not there, or are none.
    """
    _check_named(spec)
    kind = OnnxTeacher if spec.onnx else NetworkTeacher
    teachers = [kind(replace(spec, input_size=size)) for size in (spec.input_size, *spec.also_at)]
    return MeanTeacher(teachers, mirrored=spec.mirrored) if spec.also_at or spec.mirrored else teachers[0]


def teacher_facts(spec: TeacherSpec) -> tuple[str, str | None]:
    """The fingerprint of its weights, and their licence (None: nobody knows); raises as open_teacher.

    It is not loaded onto a device.
    """
    _check_named(spec)
    if spec.onnx:
        _check_input_sizes(spec, spec.multiple)
        return _onnx_fingerprint(Path(os.path.expanduser(spec.teacher))), None
    network = _load(spec)
    _check_input_sizes(spec, network.multiple)
    return weights_fingerprint(network), network.source.licence


def _check_named(spec: TeacherSpec) -> None:
    if not spec.teacher:
        raise RecipeError(f'name a teacher: a file, or one of {", ".join(checkpoints.model_names())}')


def _check_input_sizes(spec: TeacherSpec, multiple: int) -> None:
    for name, size in (('input_size', spec.input_size), *(('also_at', size) for size in spec.also_at)):
        if size % multiple:
            raise RecipeError(f'teacher {spec.teacher}: {name} must be a multiple of {multiple}, got {size}')


def _load(spec: TeacherSpec) -> DepthAnything:
    try:
        return trained_network(spec.teacher, spec.architecture, spec.accept_license)
    except DataError as error:
        raise DataError(f'teacher {spec.teacher}: {error}') from error


class NetworkTeacher:
    """A network of this package; of one that predicts metres, the inverse."""

    def __init__(self, spec: TeacherSpec) -> None:
        """Load it; raises as open_teacher."""
        network = _load(spec)
        try:
            self._estimator = DepthEstimator(
                network, device=spec.device, precision=spec.precision, backend=spec.backend, input_size=spec.input_size
            )
        except (*UNAVAILABLE_ERRORS, PrecisionUnavailableError, ValueError) as error:
            raise RecipeError(f'teacher {spec.teacher}: {error}') from error

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Teacher."""
        predictions = self._estimator.predict(list(images), at_network_size=True)
        return [_disparity(prediction.values, self._estimator.kind) for prediction in predictions]


class OnnxTeacher:
    """An ONNX model: float32 (B, 3, h, w), normalised as ImageNet, to (B, h, w) or (B, 1, h, w)."""

    def __init__(self, spec: TeacherSpec) -> None:
        """Load it; raises as open_teacher."""
        path = Path(os.path.expanduser(spec.teacher))
        self._name = spec.teacher
        try:
            import onnxruntime  # noqa: PLC0415, it is optional
        except ImportError as error:
            raise RecipeError('an ONNX teacher needs onnxruntime: pip install onnxruntime') from error
        self._kind = spec.kind
        # What the recipe's device asks for, of what this onnxruntime was built with.
        wanted = ['CPUExecutionProvider'] if spec.device == 'cpu' else ['CUDAExecutionProvider', 'CPUExecutionProvider']
        providers = [one for one in wanted if one in onnxruntime.get_available_providers()]
        if spec.device.startswith('cuda') and 'CUDAExecutionProvider' not in providers:
            raise RecipeError(f'device {spec.device}: this onnxruntime has no CUDA (install onnxruntime-gpu)')
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=providers)
        except Exception as error:  # of onnxruntime, whose errors have no public base
            raise DataError(f'{path} is no ONNX model that can be run: {str(error).splitlines()[0][:300]}') from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, 'c', 'channels'):
            raise DataError(f'{path}: expected one input (B, 3, H, W), got {[(one.name, one.shape) for one in inputs]}')
        self._input = inputs[0].name
        self._batch = shape[0] if isinstance(shape[0], int) else 0
        self._fixed = (shape[2], shape[3]) if all(isinstance(side, int) for side in shape[2:]) else None
        if self._fixed and spec.also_at:
            raise RecipeError(f'teacher {path}: also_at, of a model that takes {self._fixed[1]}x{self._fixed[0]} alone')
        self._multiple = spec.multiple
        _check_input_sizes(spec, spec.multiple)
        self._size = spec.input_size or official_input_size(spec.multiple)
        if self._batch > 1:
            raise DataError(f'{path} takes batches of {self._batch} only: export it for one image, or for any number')

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Teacher."""
        size = self._fixed or network_size(*images[0].shape[:2], self._size, self._multiple)
        groups = [[image] for image in images] if self._batch else [list(images)]
        return [disparity for group in groups for disparity in self._predict(group, size)]

    def _predict(self, images: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
        batch = preprocess(images, size, torch.device('cpu')).numpy()
        output = np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)
        if output.ndim == 4 and output.shape[1] == 1:
            output = output[:, 0]
        if output.ndim != 3 or len(output) != len(images):
            raise DataError(f'{self._name}: expected an output (B, H, W) of {len(images)} images, got {output.shape}')
        if not np.isfinite(output).all():
            raise NonFinitePredictionError('the output has NaN or infinity')
        return [_disparity(values, self._kind) for values in output]


class MeanTeacher:
    """The mean of what teachers say of an image, and of its mirror image: they err in different places.

    Each opinion is brought to mean 0 and deviation 1 first, since its scale and shift mean nothing, and to the size of
    the first.
    """

    def __init__(self, teachers: Sequence[Teacher], *, mirrored: bool) -> None:
        self._teachers, self._mirrored = teachers, mirrored

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Teacher."""
        opinions = [teacher(images) for teacher in self._teachers]
        if self._mirrored:
            flipped = [cv2.flip(image, 1) for image in images]
            opinions += [[cv2.flip(seen, 1) for seen in teacher(flipped)] for teacher in self._teachers]
        return [_mean(one) for one in zip(*opinions, strict=True)]


def _mean(opinions: Sequence[np.ndarray]) -> np.ndarray:
    height, width = opinions[0].shape
    total = np.zeros((height, width), np.float32)
    for values in opinions:
        # A map of one value has no deviation, and no opinion.
        standard = (values - values.mean()) / max(float(values.std()), np.finfo(np.float32).tiny)
        total += cv2.resize(standard, (width, height), interpolation=cv2.INTER_LINEAR)
    return total / len(opinions)


def _disparity(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == 'disparity':
        return values
    if values.min() <= 0:
        raise NonFinitePredictionError('a depth of 0 or less has no inverse')
    return (1.0 / values).astype(np.float32)


def _onnx_fingerprint(path: Path) -> str:
    """Of the file, and of the weights that exporters put beside it."""
    digest = hashlib.sha256()
    beside = [path.with_name(path.name + suffix) for suffix in ('.data', '_data')]
    try:
        for file in [path, *(one for one in beside if one.exists())]:
            with file.open('rb') as content:
                while block := content.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise DataError(f'teacher {path}: {error.strerror or error}') from error
    return digest.hexdigest()[:16]
