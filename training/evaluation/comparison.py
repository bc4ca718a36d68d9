"""Whether one network is better than another, in numbers, on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from training.errors import DataError
from training.evaluation.results import ImageScore, Result
from training.metrics import HIGHER_IS_BETTER

BETTER, WORSE, NO_DIFFERENCE = 'better', 'worse', 'no difference seen'
_CONFIDENCE = 0.95
_RESAMPLES = 4000
_DRAWN_AT_ONCE = 1 << 20
# Fewer independent pieces than this give intervals that are too narrow to be believed.
_LEAST_BLOCKS = 10


@dataclass(frozen=True)
class Comparison:
    """The second network against the first.

    Attributes:
        metric: what was compared.
        first, second: their means over the images that both have.
        difference: second - first, in the metric's unit.
        low, high: 95 % confidence interval of the difference; None where there are too few images to tell.
        images: how many both have. unpaired: how many only one of them has, left out.
        block: how many neighbours in time were resampled together; 1 where images are independent.
        verdict: of the second: `better`, `worse`, or `no difference seen`, which is not the same as equal.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    images: int
    unpaired: int
    block: int
    verdict: str

    def sentence(self) -> str:
        """All of it in words."""
        if self.low is None or self.high is None:
            interval = f'too few independent images for an interval, blocks of {self.block}'
        else:
            interval = f'95 % interval {self.low:+.4g} to {self.high:+.4g}'
        return (
            f'{self.verdict}: {self.metric} {self.first:.4g} -> {self.second:.4g} '
            f'({self.difference:+.4g}, {interval}, {self.images} images)'
        )


def compare(first: Result, second: Result, metric: str, seed: int = 0) -> Comparison:
    """Compare two networks by their differences image by image.

    A bootstrap over the images: the percentile interval of the mean difference in 4000 resamples (Efron and Tibshirani
    1993, chapter 13). Where images are neighbours (of one bag and topic, or one scene) their differences are alike, and
    resampling them one by one would find significance in any long log. Then blocks of neighbours are drawn (circular
    block bootstrap, Politis and Romano 1992), as long as twice the differences' autocorrelation time, and at least the
    cube root of their number. On logs of 300 to 1000 frames whose differences drift around zero (autoregressive, .5 to
    .9 from frame to frame) it sees a difference in 8 to 12 % of them, not in the 5 % it should: one by one, in 27 to
    68 %. Where so few blocks are left that none is told in most of such logs (40 frames at .5, 300 at .9), it is one of
    four of those in which it is told.

    Args:
        first, second: on the same data; compared are the images that both have.
        metric: one of their metrics.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        DataError: they have no image with this metric in common.
    """
    pairs = _paired(first, second, metric)
    if not pairs:
        raise DataError(f'{first.model} and {second.model} have no image of {first.data} with {metric} in common')
    before, after = (np.array([image.scores[metric] for image in side]) for side in zip(*pairs, strict=True))
    weights = np.array([image.weight for image, _ in pairs])
    differences = after - before
    block = _block_length(differences) if _has_neighbours(pairs) else 1
    low, high = _interval(differences, weights, block, seed)
    return Comparison(
        metric=metric,
        first=float(np.average(before, weights=weights)),
        second=float(np.average(after, weights=weights)),
        difference=float(np.average(differences, weights=weights)),
        low=low,
        high=high,
        images=len(pairs),
        unpaired=sum(metric in image.scores for side in (first, second) for image in side.images) - 2 * len(pairs),
        block=block,
        verdict=_verdict(low, high, metric),
    )


def _verdict(low: float | None, high: float | None, metric: str) -> str:
    if low is None or high is None or low <= 0.0 <= high:
        return NO_DIFFERENCE
    return BETTER if (low > 0.0) == (metric in HIGHER_IS_BETTER) else WORSE


def _paired(first: Result, second: Result, metric: str) -> list[tuple[ImageScore, ImageScore]]:
    """The images that both have, in the order of time within their sequences."""
    others = {(image.index, image.key): image for image in second.images if metric in image.scores}
    pairs = [
        (image, others[image.index, image.key])
        for image in first.images
        if metric in image.scores and (image.index, image.key) in others
    ]
    return sorted(pairs, key=lambda pair: (pair[0].sequence, pair[0].stamp_ns or 0, pair[0].index))


def _has_neighbours(pairs: list[tuple[ImageScore, ImageScore]]) -> bool:
    sequences = [image.sequence for image, _ in pairs if image.sequence]
    return len(set(sequences)) < len(sequences)


def _block_length(differences: np.ndarray) -> int:
    n = len(differences)
    return min(n, ceil(max(n ** (1.0 / 3.0), 2.0 * _autocorrelation_time(differences))))


def _autocorrelation_time(series: np.ndarray) -> float:
    """1 + 2 * the sum of the autocorrelations up to the first that is not positive: neighbours that count as one."""
    centred = series - series.mean()
    power = float(centred @ centred)
    time = 1.0
    if power > 0.0:
        for lag in range(1, len(series) // 2):
            correlation = float(centred[:-lag] @ centred[lag:]) / power
            if correlation <= 0.0:
                break
            time += 2.0 * correlation
    return time


def _interval(differences: np.ndarray, weights: np.ndarray, block: int, seed: int) -> tuple[float | None, float | None]:
    n = len(differences)
    blocks = ceil(n / block)
    if n // block < _LEAST_BLOCKS:
        return None, None
    random = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    at_once = max(1, _DRAWN_AT_ONCE // n)
    for begin in range(0, _RESAMPLES, at_once):
        starts = random.integers(0, n, (min(at_once, _RESAMPLES - begin), blocks, 1))
        drawn = ((starts + np.arange(block)) % n).reshape(len(starts), -1)[:, :n]
        means.append((differences * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    tail = 50.0 * (1.0 - _CONFIDENCE)
    low, high = np.percentile(np.concatenate(means), [tail, 100.0 - tail])
    return float(low), float(high)
