"""Labels with gross errors in known places: what trimming is meant to survive (V2 paper, section 5.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.data.sample import Dataset
from training.data.shards import ShardDataset, ShardWriter, encode_label, read_shard_names
from training.files import Folder

# Semi-axes of a blob, in shares of the image's sides.
_AXES = (0.05, 0.15)


def corrupt(disparity: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Set elliptic blobs of a label to wrong values until a share of its pixels is covered.

    Each blob has one value, uniform between the label's least and greatest, as where a teacher takes glass or a picture
    on a wall for what is seen in it.

    Args:
        disparity: (h, w) float32; it is left as it is.
        share: of the pixels, in [0, 1). The last blob is cut so that it is this share to the pixel.
        random: source of all chance.

    Returns:
        (h, w) float32.
    """
    height, width = disparity.shape
    rows, columns = np.mgrid[0:height, 0:width]
    corrupted, wrong = disparity.copy(), np.zeros(disparity.shape, bool)
    wanted = round(share * disparity.size)
    low, high = float(disparity.min()), float(disparity.max())
    while (left := wanted - np.count_nonzero(wrong)) > 0:
        centre = random.uniform(0, 1, 2) * disparity.shape
        axes = np.maximum(random.uniform(*_AXES, 2) * disparity.shape, 1.0)
        blob = ((rows - centre[0]) / axes[0]) ** 2 + ((columns - centre[1]) / axes[1]) ** 2 <= 1
        new = np.flatnonzero(blob & ~wrong)[:left]
        corrupted.flat[new] = random.uniform(low, high)
        wrong.flat[new] = True
    return corrupted


def corrupt_labels(shards: str, labels: str, output: str, share: float, seed: int) -> None:
    """Write a corrupted copy of the labels, shard by shard; what is there already stays.

    Args:
        shards, labels: what is labelled, and its labels. output: folder of the copy.
        share, seed: the errors are a function of (seed, shard's number, place in it) alone.

    Raises:
        DataError: as ShardDataset.
    """
    writer = ShardWriter(Folder(output))
    for number, name in enumerate(read_shard_names(Folder(shards))):
        if not writer.done(name):
            labelled = ShardDataset(shards, labels=labels, shards=[name])
            writer.write(name, _corrupted(labelled, share, (seed, number)), labels_of=labelled.sha256(name))


def _corrupted(labelled: Dataset, share: float, seed: tuple[int, int]) -> Iterator[tuple[str, dict[str, bytes]]]:
    for index in range(len(labelled)):
        random = np.random.default_rng([*seed, index])
        yield labelled.key(index), encode_label(corrupt(labelled[index].disparity, share, random))
