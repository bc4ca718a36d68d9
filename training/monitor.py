"""What can be watched of a training: curves and pictures in TensorBoard, and a progress bar."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from depth_anything_ros.network import IMAGE_MEAN, IMAGE_STD
from training.data.batch import StreamBatch
from training.errors import TrainingError

_PICTURES = 4


class Monitor:
    """Curves, pictures and progress of a run, of its main process.

    A run that goes on from a step writes into the same folder: what was written of that step and later, before it was
    killed, is hidden (TensorBoard's purge_step), so that curves have neither gaps nor doubles.
    """

    def __init__(self, folder: str | os.PathLike[str], start: int, steps: int, title: str) -> None:
        """Begin.

        Args:
            folder: of TensorBoard's files.
            start: first step of this part of the run.
            steps: of all parts.
            title: of the progress bar.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415, it is optional
        except ImportError as error:
            raise TrainingError('the curves need TensorBoard: pip install tensorboard') from error
        _leave_second_of_last_file(Path(folder))
        self._writer = SummaryWriter(os.fspath(folder), purge_step=start)
        self._bar = tqdm(total=steps, initial=start, desc=title, unit='step', dynamic_ncols=True)

    def step(self, loss: float) -> None:
        """A step is done, at this loss."""
        self._bar.set_postfix(loss=f'{loss:.4f}', refresh=False)
        self._bar.update()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Points of curves, by name; `group/name` puts curves side by side."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, step: int, streams: Mapping[str, StreamBatch], maps: Mapping[str, Tensor]) -> None:
        """For a few images of each stream, side by side: what the network saw, the target, what it put out."""
        for name, batch in streams.items():
            rows = [picture(batch, maps[name], index) for index in range(min(_PICTURES, len(batch.image)))]
            self._writer.add_image(name, np.concatenate(rows), step, dataformats='HWC')

    def flush(self) -> None:
        """Bring to the disk what was written: called before a checkpoint, whose steps are not done again."""
        self._writer.flush()

    def close(self) -> None:
        """End."""
        self._bar.close()
        self._writer.close()


def _leave_second_of_last_file(folder: Path) -> None:
    """Wait until a new file of events sorts after those that are there.

    TensorBoard reads files in the order of their names, which begin with the second: two of the same second come in
    the order of their processes' numbers, and the older one would hide what the newer one has.
    """
    seconds = {int(path.name.split('.')[3]) for path in folder.glob('events.out.tfevents.*')}
    while int(time.time()) in seconds:
        time.sleep(0.05)


def picture(batch: StreamBatch, prediction: Tensor, index: int) -> np.ndarray:
    """One image's (h, 3 w, 3) uint8 RGB: the image, the target (black where unknown), the prediction (B, h, w)."""
    target, mask = batch.target[index], batch.mask[index]
    if batch.box is not None:
        box = batch.box[index]
        target, mask = (
            torch.where(box, batch.other_target[index], target),
            torch.where(box, batch.other_mask[index], mask),
        )
    everywhere = torch.ones_like(mask)
    # The target may have fewer pixels than the image (loss_stride).
    image = F.interpolate(batch.image[index : index + 1], target.shape, mode='area')[0]
    parts = [_rgb(image), coloured(target, mask), coloured(prediction[index].detach(), everywhere)]
    return np.concatenate(parts, axis=1)


def _rgb(image: Tensor) -> np.ndarray:
    pixels = image.detach().float().cpu().permute(1, 2, 0) * torch.tensor(IMAGE_STD) + torch.tensor(IMAGE_MEAN)
    return (pixels.clamp(0, 1) * 255).round().byte().numpy()


def coloured(values: Tensor, mask: Tensor) -> np.ndarray:
    """(h, w) -> (h, w, 3) uint8 RGB, from the 2nd to the 98th percentile of what the mask shows; black elsewhere."""
    shown: Any = values.float().cpu().numpy()
    known = mask.cpu().numpy()
    if not known.any():
        return np.zeros((*shown.shape, 3), np.uint8)
    low, high = np.percentile(shown[known], (2, 98))
    levels = np.clip((shown - low) / max(high - low, 1e-9), 0, 1)
    colours = cv2.applyColorMap((np.where(known, levels, 0) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.where(known[..., None], cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), np.uint8(0))
