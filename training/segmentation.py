"""A semantic segmentation model of the transformers library, asked for one class: the sky."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from depth_anything_ros.estimation import DeviceUnavailableError
from depth_anything_ros.estimation.devices import resolve_device
from depth_anything_ros.network import weights_fingerprint
from training.errors import DataError, RecipeError, TrainingError

_log = logging.getLogger(__name__)
# Names on the hub, which does not tell apart their case, of models for research and evaluation only, and their licence.
_RESEARCH_ONLY = re.compile(r'nvidia/(segformer|mit)-', re.IGNORECASE)
_RESEARCH_LICENCE = 'NVIDIA Source Code License for SegFormer'
_FREE_MODEL = 'microsoft/beit-large-finetuned-ade-640-640'


class SkySegmenter:
    """Says where the sky is.

    A pixel is sky where that class has the highest score. Scores are compared at the model's own resolution, and the
    lead of the sky over the best other class is then scaled to the image: so a large image takes one plane of memory
    and not one for each class.

    fingerprint: of the model's weights. licence: of these, None where it is not known here.
    """

    def __init__(self, model: str, device: str = 'auto', accept_license: bool = False) -> None:
        """Load the model.

        Args:
            model: a folder as transformers saves it, or a name on the Hugging Face hub.
            device: `auto`, `cpu`, `cuda`, ...
            accept_license: agree to a licence that allows research and evaluation only.

        Raises:
            RecipeError: no model is named, or there is no such device.
            DataError: it cannot be loaded, has no class `sky`, or its licence is not agreed to.
            TrainingError: transformers is not installed.
        """
        if not model:
            raise RecipeError('sky: name a segmentation model, model=FOLDER or a name on the hub')
        self.licence = _check_licence(model, accept_license)
        try:
            self._device = resolve_device(device)
        except DeviceUnavailableError as error:
            raise RecipeError(str(error)) from error
        self._processor, network = _load(model)
        self._sky = _class_of_sky(model, network.config.id2label)
        self._network = network.eval().to(self._device)
        self.fingerprint = weights_fingerprint(network)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each image, (H, W, 3) uint8 RGB, (H, W) bool; sizes may differ."""
        inputs = self._processor(images=list(images), input_data_format='channels_last', return_tensors='pt')
        scores = self._network(pixel_values=inputs['pixel_values'].to(self._device)).logits.float()
        others = torch.cat([scores[:, : self._sky], scores[:, self._sky + 1 :]], dim=1)
        lead = scores[:, self._sky] - others.amax(dim=1)
        return [_scaled(one, image.shape[:2]) > 0 for one, image in zip(lead, images, strict=True)]


def _check_licence(model: str, accepted: bool) -> str | None:
    """Before anything is downloaded. Of a folder nothing is known: it is its owner's care."""
    if os.path.isdir(model) or not _RESEARCH_ONLY.match(model):
        return None
    if not accepted:
        raise DataError(
            f'{model}: the licence of the weights, {_RESEARCH_LICENCE}, allows research and evaluation only; set '
            f'accept_license to true if that suits you, or name another model, such as {_FREE_MODEL} under Apache-2.0'
        )
    _log.warning('%s: licence %s, for research and evaluation only', model, _RESEARCH_LICENCE)
    return _RESEARCH_LICENCE


def _load(model: str) -> tuple[Any, nn.Module]:
    try:
        from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TrainingError('sky needs transformers: pip install transformers') from error
    try:
        processor = AutoImageProcessor.from_pretrained(model)
        network, loaded = AutoModelForSemanticSegmentation.from_pretrained(model, output_loading_info=True)
    except (OSError, ValueError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DataError(f'{model}: no segmentation model can be loaded from there: {first}') from error
    if loaded['missing_keys']:
        # Such as a bare encoder: the library would go on with random numbers there.
        raise DataError(f'{model}: this checkpoint has no weights of {sorted(loaded["missing_keys"])[0]}')
    return processor, network


def _class_of_sky(model: str, names: Mapping[int, str]) -> int:
    found = [int(number) for number, name in names.items() if 'sky' in re.split(r'[,;]\s*', name.strip().lower())]
    if not found:
        known = ', '.join(list(names.values())[:8])
        raise DataError(f"{model}: none of its {len(names)} classes is called 'sky': {known} ...")
    return found[0]


def _scaled(plane: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    scaled = nn.functional.interpolate(plane[None, None], size, mode='bilinear', align_corners=False)
    return scaled[0, 0].cpu().numpy()
