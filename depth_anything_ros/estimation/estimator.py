"""The estimator: uint8 RGB images in, predictions out."""

from __future__ import annotations

from functools import partial
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F

from depth_anything_ros import checkpoints
from depth_anything_ros.estimation.backends import make_backend
from depth_anything_ros.estimation.devices import check_precision, release_memory, resolve_target, with_room
from depth_anything_ros.estimation.errors import (
    BackendUnavailableError,
    DeviceMemoryError,
    DeviceUnavailableError,
    NonFinitePredictionError,
)
from depth_anything_ros.estimation.prediction import Prediction, Timings
from depth_anything_ros.estimation.preprocessing import (
    ImageShapeError,
    check_image,
    network_size,
    preprocess,
    preprocess_pixels,
)
from depth_anything_ros.estimation.resident import Resident, check_finite
from depth_anything_ros.estimation.transfer import images_to_device, to_host
from depth_anything_ros.network import DepthAnything

# What a DepthEstimator raises for an image, and, beside the ValueError of a wrong option, when it is made.
PREDICTION_ERRORS = (ImageShapeError, NonFinitePredictionError, BackendUnavailableError, DeviceMemoryError)
UNAVAILABLE_ERRORS = (
    checkpoints.CheckpointError,
    BackendUnavailableError,
    DeviceUnavailableError,
    DeviceMemoryError,
)


class DepthEstimator:
    """Depth Anything on a device.

    model: a name of checkpoints.catalogue(), or a DepthAnything network. checkpoint: a weight file for that name.
    device: 'auto', 'cpu', 'cuda', 'cuda:1', 'openvino:GPU', 'openvino:NPU'. precision: one of choices.PRECISIONS.
    backend: one of choices.BACKENDS; all but torch compile for each size of image and batch. input_size: what the
    image's shorter side is scaled to, in pixels; 0: the network's own size, and the attribute says which. live: with
    backend 'auto' no image waits for a compilation: torch serves it, and another process compiles.

    architecture: the network's name in ARCHITECTURES. kind: what a Prediction of it is. canonical_focal_px: the focal
    length that a metric network was trained with, in pixels of what it saw; None of a relative one, and while nobody
    knows. max_depth_m: the largest depth that a metric network can say, None of a relative one. source: where the
    weights came from.

    Raises what checkpoints.load raises, DeviceUnavailableError, DeviceMemoryError, PrecisionUnavailableError,
    BackendUnavailableError, and ValueError for an input_size that the network cannot take.
    """

    def __init__(
        self,
        model: str | DepthAnything | None,
        checkpoint: str | None = None,
        device: str = 'auto',
        precision: str = 'auto',
        backend: str = 'auto',
        input_size: int = 0,
        *,
        accept_license: bool = False,
        live: bool = False,
    ) -> None:
        target = resolve_target(device)
        check_precision(precision)
        network = (
            model
            if isinstance(model, DepthAnything)
            else checkpoints.load(model, path=checkpoint, accept_license=accept_license)
        )
        self._multiple = network.multiple
        input_size = input_size or network.architecture.input_size
        if input_size < self._multiple or input_size % self._multiple:
            raise ValueError(
                f'input_size must be a multiple of {self._multiple} for {network.architecture.name}, got {input_size}; '
                f'the nearest is {max(1, round(input_size / self._multiple)) * self._multiple}, and 0 takes the '
                f"model's own, {network.architecture.input_size}"
            )
        self.input_size = input_size
        self.architecture = network.architecture.name
        self.kind = network.architecture.kind
        self.canonical_focal_px = network.architecture.canonical_focal_px
        self.max_depth_m = network.architecture.max_depth
        self.source = network.source
        try:
            self._backend = make_backend(backend, network, target, precision, live=live)
        except torch.cuda.OutOfMemoryError as error:
            raise _memory_error(target.tensors, error) from error

    @property
    def device(self) -> torch.device:
        """Where the network's input and output are."""
        return self._backend.device

    @property
    def hardware(self) -> str:
        """What computes, in the words of the argument `device`."""
        return self._backend.hardware

    @property
    def precision(self) -> str:
        """What the network computes in: 'fp32', 'bf16', 'fp16' or 'int8'."""
        return self._backend.precision

    @property
    def backend(self) -> str:
        """What runs the network; with 'auto' it may change from image to image."""
        return self._backend.name

    @property
    def batches(self) -> bool:
        """Whether images that wait together are better predicted in one batch.

        On a CPU together they take as long as one after another, or longer, and the first is ready only with the last.
        """
        return self.device.type != 'cpu'

    @property
    def parallel(self) -> int:
        """How many threads that predict at the same time get more done than one; it may change with the backend."""
        return self._backend.parallel

    @property
    def keeps_on_device(self) -> bool:
        """Whether what follows the prediction is better done where it is than on the host."""
        return self.device.type == 'cuda'

    @property
    def gpu_memory_mib(self) -> float | None:
        """What torch holds of the GPU's memory; None on a CPU."""
        return torch.cuda.memory_reserved(self.device) / 2**20 if self.device.type == 'cuda' else None

    @property
    def backend_reason(self) -> str:
        """Why it is this one, in words."""
        return self._backend.reason

    def __call__(self, image: np.ndarray, *, at_network_size: bool = False) -> Prediction:
        """Predict one uint8 RGB image (H, W, 3); see predict."""
        return self.predict([image], at_network_size=at_network_size)[0]

    def predict(
        self, images: list[np.ndarray], *, at_network_size: bool = False, keep_on_device: bool = False
    ) -> list[Prediction]:
        """Predict a batch of uint8 RGB images (H, W, 3) of one size; on a CPU other threads may do so meanwhile.

        The values have the images' size, or with at_network_size the network's, which costs less. keep_on_device: they
        stay there, and nothing is waited for, see Prediction.

        Raises ImageShapeError, NonFinitePredictionError (what is kept does so when it comes to the host),
        DeviceMemoryError, and BackendUnavailableError if the backend asked for cannot serve images of this size, or is
        too far from torch on this one.
        """
        for image in images:
            check_image(image)
        sizes = {image.shape[:2] for image in images}
        if len(sizes) != 1:
            raise ImageShapeError(f'a batch needs images of one size, got {sorted(sizes) or "none"}')
        (size,) = sizes
        seen = network_size(*size, self.input_size, self._multiple)
        size = None if at_network_size else size
        work = partial(self._kept if keep_on_device else self._fetched, images, seen, size)
        try:
            return with_room(work, self._backend.release, self.device)
        except torch.cuda.OutOfMemoryError as error:
            full = _memory_error(self.device, error)
        # Not in the handler: torch's error holds the tensors of this call as long as it lives.
        raise full

    def _fetched(
        self, images: list[np.ndarray], seen: tuple[int, int], size: tuple[int, int] | None
    ) -> list[Prediction]:
        start = perf_counter()
        batch = preprocess(images, seen, self.device)
        prepared = self._now()
        output = self._backend(batch)
        computed = self._now()
        check_finite(_is_finite(output), self.precision)
        values = to_host(_resized(output, size))
        timings = Timings(prepared - start, computed - prepared, perf_counter() - computed)
        return [Prediction(value, self.kind, seen, timings) for value in values]

    def _kept(self, images: list[np.ndarray], seen: tuple[int, int], size: tuple[int, int] | None) -> list[Prediction]:
        pixels = images_to_device(images, self.device)
        output = self._backend(preprocess_pixels(pixels, seen))
        finite = torch.isfinite(output).flatten(1).all(1)
        kept = (Resident(*image, self.precision) for image in zip(_resized(output, size), finite, strict=True))
        return [Prediction(values, self.kind, seen, None, image) for values, image in zip(kept, pixels, strict=True)]

    def close(self) -> None:
        """Give the memory back; the estimator is of no use afterwards."""
        device = self.device
        self._backend.close()
        del self._backend
        release_memory(device)

    def _now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return perf_counter()


def _is_finite(output: torch.Tensor) -> bool:
    # With NumPy where it can, as in preprocess.
    return bool((np.isfinite(output.numpy()) if output.device.type == 'cpu' else torch.isfinite(output)).all())


def _memory_error(device: torch.device, error: RuntimeError) -> DeviceMemoryError:
    reason = str(error).split('\n', 1)[0]
    return DeviceMemoryError(
        f"'{device}' is out of memory ({reason}): take a smaller input_size or model, precision fp16, or device cpu"
    )


def _resized(output: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
    """The network's output (B, h, w) in the images' size (B, H, W); None: as it is."""
    if size is None:
        return output
    return F.interpolate(output[:, None], size=size, mode='bilinear', align_corners=True)[:, 0]
