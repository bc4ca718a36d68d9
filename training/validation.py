"""A quick look, while it trains, at samples that are not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.data.augmentation import TrainView, View
from training.data.loading import Batches, Stream
from training.data.sample import Dataset
from training.data.spec import make_datasets
from training.losses import affine_invariant_loss
from training.settings import TrainSettings


@dataclass(frozen=True)
class Validation:
    """What to look at.

    Attributes:
        dataset: of samples that are not trained on.
        view: of them, always the same: the centre, not mirrored, not perturbed.
        loss: (prediction, target, mask), each (B, H, W) -> scalar, the mean over the images.
    """

    dataset: Dataset
    view: View
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]


def relative_validation(settings: TrainSettings, multiple: int, *, mask_sky: bool) -> Validation | None:
    """The affine-invariant loss on settings.validation, None if that is empty; raises RecipeError or DataError.

    mask_sky: as of TrainView.
    """
    if not settings.validation:
        return None
    view = TrainView(size=settings.crop(multiple), multiple=multiple, crop='centre', flip=0.0, mask_sky=mask_sky)
    return Validation(make_datasets(settings.validation), view, affine_invariant_loss)


def validation_loss(
    model: nn.Module, validation: Validation, settings: TrainSettings, accelerator: Accelerator
) -> float:
    """The mean loss of the same whole batches, about settings.validation_samples samples, each time.

    The model puts out `Output`; it is in training again afterwards if it was before. All processes call this together.
    """
    wanted = min(settings.validation_samples, len(validation.dataset))
    batches = Batches(
        [Stream('validation', validation.dataset, settings.batch_size, validation.view)],
        settings.seed,
        max(1, wanted // settings.batch_size),
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        workers=settings.workers,
        max_bad_fraction=settings.max_bad_fraction,
    )
    training = model.training
    model.eval()
    losses = []
    with torch.no_grad(), accelerator.autocast():
        for batch in batches:
            stream = batch.to(accelerator.device).streams['validation']
            # In the parts of a training step, which fit into the memory.
            maps = [model(images).map for images in stream.image.chunk(settings.accumulate)]
            losses.append(validation.loss(torch.cat(maps), stream.target, stream.mask))
    model.train(training)
    return float(accelerator.reduce(torch.stack(losses).mean(), 'mean'))
