"""What a user would otherwise take: Hugging Face's transformers on the same network, with random weights."""

from __future__ import annotations

from contextlib import nullcontext
from time import perf_counter
from typing import Any

import numpy as np
import torch

from depth_anything_ros.checkpoints import name_or_default
from depth_anything_ros.cli.bench_case import Case
from depth_anything_ros.estimation import BackendUnavailableError
from depth_anything_ros.estimation.devices import cpu_computes_bf16, resolve_device
from depth_anything_ros.estimation.preprocessing import network_size
from depth_anything_ros.network import ARCHITECTURES, IMAGE_MEAN, IMAGE_STD, Architecture

EAGER, BEST = 'eager', 'best'
"""Settings: as its documentation has it, in fp32; and compiled, in fp16 on CUDA and bf16 on a CPU."""

_PATCH = 14
_HEAD_WIDTH = 64  # of an attention head, in every DINOv2


class Reference:
    """transformers' DepthAnythingForDepthEstimation. Called with an image it gives the seconds of each part.

    facts: what it is, as a case says of itself.
    """

    def __init__(self, case: Case) -> None:
        """Build it; raises BackendUnavailableError where transformers is missing or does not have the network."""
        try:
            import transformers  # noqa: PLC0415 - optional
        except ImportError as error:
            raise BackendUnavailableError('the reference is transformers: pip install transformers') from error
        name = (name_or_default(case.model, case.checkpoint) or '').replace('untrained-', 'v2-')
        architecture = ARCHITECTURES.get(name)
        if architecture is None:
            raise BackendUnavailableError(
                f'the reference needs --model, one of {", ".join(ARCHITECTURES)}, got {name!r}'
            )
        if architecture.pyramid or architecture.kind != 'disparity':
            raise BackendUnavailableError(f'transformers has no {name}')
        self._device = resolve_device(case.device)
        width, height = case.size
        # As ours: its own rule has fewer pixels for many shapes.
        seen = network_size(height, width, case.input_size or architecture.input_size, _PATCH)
        self._processor = transformers.DPTImageProcessor(
            size=dict(zip(('height', 'width'), seen, strict=True)),
            keep_aspect_ratio=False,
            ensure_multiple_of=1,
            resample=3,
            image_mean=list(IMAGE_MEAN),
            image_std=list(IMAGE_STD),
        )
        self._network = _network(transformers, architecture).to(self._device).eval()
        self._dtype = None
        if case.reference == BEST:
            # A CPU that emulates bf16 takes five times as long with it.
            on_cpu = torch.bfloat16 if cpu_computes_bf16() else None
            self._dtype = torch.float16 if self._device.type == 'cuda' else on_cpu
            self._network = torch.compile(self._network)
        pixels = self._pixels(np.zeros((height, width, 3), np.uint8))
        self.facts: dict[str, Any] = {
            'model': name,
            'backend': f'transformers, {case.reference}',
            'device': str(self._device),
            'precision': {torch.float16: 'fp16', torch.bfloat16: 'bf16', None: 'fp32'}[self._dtype],
            'network_size': [pixels.shape[3], pixels.shape[2]],
        }

    def __call__(self, image: np.ndarray) -> dict[str, float]:
        """Seconds of each part for a uint8 RGB image (H, W, 3)."""
        start = perf_counter()
        pixels = self._pixels(image)
        prepared = self._now()
        reduced = torch.autocast(self._device.type, dtype=self._dtype) if self._dtype else nullcontext()
        with torch.inference_mode(), reduced:
            depth = self._network(pixel_values=pixels).predicted_depth
        computed = self._now()
        with torch.inference_mode():
            resized = torch.nn.functional.interpolate(depth[:, None].float(), image.shape[:2], mode='bicubic')
        resized.cpu().numpy()
        end = perf_counter()
        return {
            'preprocess': prepared - start,
            'network': computed - prepared,
            'postprocess': end - computed,
            'total': end - start,
        }

    def _pixels(self, image: np.ndarray) -> torch.Tensor:
        return self._processor(image, return_tensors='pt')['pixel_values'].to(self._device)

    def _now(self) -> float:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        return perf_counter()


def _network(transformers: Any, architecture: Architecture) -> torch.nn.Module:
    backbone = transformers.Dinov2Config(
        hidden_size=architecture.width,
        num_hidden_layers=architecture.blocks,
        num_attention_heads=architecture.width // _HEAD_WIDTH,
        image_size=518,
        patch_size=_PATCH,
        out_indices=[tap + 1 for tap in architecture.taps],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=_PATCH,
        reassemble_hidden_size=architecture.width,
        neck_hidden_sizes=list(architecture.channels),
        fusion_hidden_size=architecture.features,
    )
    return transformers.DepthAnythingForDepthEstimation(config)
