"""What each stage minimises: from a network and a batch to named losses and their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from depth_anything_ros.network import DepthAnything
from training.data.batch import StreamBatch
from training.losses import (
    affine_invariant_loss,
    correlation_loss,
    cutmix_gradient_matching_loss,
    cutmix_loss,
    feature_alignment_loss,
    gradient_matching_loss,
    silog_loss,
)

LABELLED = 'labelled'
UNLABELLED = 'unlabelled'
# How an image's scale and shift are taken out of a teacher's loss.
MEDIAN, MEAN = 'median', 'mean'


class Output(NamedTuple):
    """What a network makes of images: its map (B, H, W), and the encoder's last features (B, C, h, w)."""

    map: Tensor
    features: Tensor


class Trainee(nn.Module):
    """The network as it is trained: one forward pass gives the map and the features beneath it.

    Parameters get their gradients through a module's own forward pass alone once it is distributed (DDP, FSDP), so
    what the losses need has to come out of it.
    """

    def __init__(self, network: DepthAnything, stride: int = 1, *, compiled: bool = False) -> None:
        """Wrap a network.

        Args:
            network: its parameters are the trainee's, with `network.` before their names, compiled or not.
            stride: while it trains, its maps have every stride-th pixel of a row and a column (see every).
            compiled: while it trains, run what torch.compile makes of it.
        """
        super().__init__()
        self.network = network
        self._stride = stride
        # A function of the network, and not a method: so a copy of the trainee runs its own weights.
        self._trained = torch.compile(_output, dynamic=False) if compiled else _output

    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W), normalised -> the output; its map is (B, H // stride, W // stride) while in training."""
        if self.training:
            return self._trained(self.network, image, self._stride)
        # Validation's batches have sizes of their own, for each of which it would be compiled anew.
        return _output(self.network, image, 1)


def _output(network: DepthAnything, image: Tensor, stride: int) -> Output:
    maps = network.encoder(image)
    height, width = image.shape[-2:]
    disparity = network.head(network.reassemble(maps), (height // stride, width // stride))
    return Output(disparity, maps[-1])


@dataclass
class Losses:
    """The losses of a batch.

    Attributes:
        terms: scalars by name, each the mean over the images of its stream.
        weights: of the terms, by name.
        maps: (B, H, W) by stream, what the network put out.
    """

    terms: dict[str, Tensor]
    weights: dict[str, float]
    maps: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The weighted sum of the terms: what is minimised."""
        return torch.stack([weight * self.terms[name] for name, weight in self.weights.items()]).sum()


Objective = Callable[[nn.Module, Mapping[str, StreamBatch]], Losses]
"""(model that puts out `Output`, streams of a batch by name) -> losses."""


@dataclass(frozen=True)
class TeacherObjective:
    """Labelled images: L_ssi (V1 paper, equations 1 to 3) + gradient_weight * L_gm (V2 paper, section 7.1: 2).

    edge_weight: of L_ssi, see affine_invariant_loss.
    normalisation: MEDIAN, or MEAN for the correlation_loss in place of L_ssi, which has no trim.
    """

    gradient_weight: float
    trim: float = 0.0
    edge_weight: float = 0.0
    normalisation: str = MEDIAN

    def __call__(self, model: nn.Module, streams: Mapping[str, StreamBatch]) -> Losses:
        """Of the stream `labelled`."""
        batch = streams[LABELLED]
        prediction = model(batch.image).map
        if self.normalisation == MEAN:
            affine = correlation_loss(prediction, batch.target, batch.mask, self.edge_weight)
        else:
            affine = affine_invariant_loss(prediction, batch.target, batch.mask, self.trim, self.edge_weight)
        terms = {'affine': affine}
        weights = {'affine': 1.0}
        if self.gradient_weight:
            terms['gradient'] = gradient_matching_loss(prediction, batch.target, batch.mask)
            weights['gradient'] = self.gradient_weight
        return Losses(terms, weights, {LABELLED: prediction})


@dataclass(frozen=True)
class StudentObjective:
    """Pseudo-labelled images, perturbed and mixed, and labelled ones beside them, in one forward pass.

    L = labelled_weight * L_l + unlabelled_weight * (L_u + gradient_weight * L_gm) + alignment_weight * L_feat: L_l and
    L_u are affine-invariant, L_u in the two regions of a CutMix image apart and without its largest residuals, L_gm
    likewise, and L_feat holds the features to those of a frozen encoder that sees the same perturbed images (V1 paper,
    equations 5 to 9; V2 paper, section 5.2). V1 has the mean of L_l, L_u and L_feat; V2 has no L_l.

    frozen_encoder: as of training.initial.frozen_encoder; None if alignment_weight is 0.
    edge_weight: of L_l, see affine_invariant_loss.
    """

    frozen_encoder: nn.Module | None
    labelled_weight: float = 0.0
    unlabelled_weight: float = 1.0
    gradient_weight: float = 0.0
    alignment_weight: float = 0.0
    alignment_margin: float = 0.85
    trim: float = 0.0
    edge_weight: float = 0.0

    def __call__(self, model: nn.Module, streams: Mapping[str, StreamBatch]) -> Losses:
        """Of the streams `unlabelled` and, if it is there, `labelled`."""
        unlabelled, labelled = streams[UNLABELLED], streams.get(LABELLED)
        images = [unlabelled.image] if labelled is None else [unlabelled.image, labelled.image]
        output = model(torch.cat(images))
        count = len(unlabelled.image)
        maps = {UNLABELLED: output.map[:count]}
        prediction = maps[UNLABELLED]
        terms = {'unlabelled': mixed_affine_invariant(prediction, unlabelled, self.trim)}
        weights = {'unlabelled': self.unlabelled_weight}
        if self.gradient_weight:
            terms['gradient'] = mixed_gradient_matching(prediction, unlabelled)
            weights['gradient'] = self.unlabelled_weight * self.gradient_weight
        if self.frozen_encoder is not None:
            terms['alignment'] = self._alignment(output.features[:count], unlabelled.image)
            weights['alignment'] = self.alignment_weight
        if labelled is not None:
            maps[LABELLED] = output.map[count:]
            terms['labelled'] = affine_invariant_loss(
                maps[LABELLED], labelled.target, labelled.mask, edge_weight=self.edge_weight
            )
            weights['labelled'] = self.labelled_weight
        return Losses(terms, weights, maps)

    def _alignment(self, features: Tensor, images: Tensor) -> Tensor:
        with torch.no_grad():
            frozen = self.frozen_encoder(images)[-1]
        return feature_alignment_loss(_patches(features), _patches(frozen), self.alignment_margin)


@dataclass(frozen=True)
class MetricObjective:
    """Metric depth: SiLog (V2's metric training, util/loss.py)."""

    lambd: float = 0.5

    def __call__(self, model: nn.Module, streams: Mapping[str, StreamBatch]) -> Losses:
        """Of the stream `labelled`, whose target is depth."""
        batch = streams[LABELLED]
        prediction = model(batch.image).map
        terms = {'silog': silog_loss(prediction, batch.target, batch.mask, self.lambd)}
        return Losses(terms, {'silog': 1.0}, {LABELLED: prediction})


def mixed_affine_invariant(prediction: Tensor, batch: StreamBatch, trim: float) -> Tensor:
    """The affine-invariant loss of images that may be mixed by CutMix: cutmix_loss if they may."""
    if batch.box is None:
        return affine_invariant_loss(prediction, batch.target, batch.mask, trim)
    return cutmix_loss(prediction, batch.other_target, batch.target, batch.box, batch.other_mask, batch.mask, trim)


def mixed_gradient_matching(prediction: Tensor, batch: StreamBatch) -> Tensor:
    """Gradient matching of images that may be mixed by CutMix: cutmix_gradient_matching_loss if they may."""
    if batch.box is None:
        return gradient_matching_loss(prediction, batch.target, batch.mask)
    return cutmix_gradient_matching_loss(
        prediction, batch.other_target, batch.target, batch.box, batch.other_mask, batch.mask
    )


def _patches(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C)."""
    return features.flatten(2).transpose(1, 2)
