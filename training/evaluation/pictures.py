"""Pictures of single images: what was seen, what is true, what was predicted, and how far off it is."""

from __future__ import annotations

import cv2
import numpy as np

from depth_anything_ros.estimation import Prediction
from depth_anything_ros.geometry.colorize import colorize
from training.data.sample import Sample
from training.data.shards import encode_jpeg
from training.evaluation.scoring import Scored
from training.evaluation.truth import Truth
from training.files import Folder

IMAGE, TRUTH = 'image', 'truth'
PREDICTION, ERROR = 'prediction', 'error'
# Errors from none (dark) to this |ln(depth / truth)| (bright): 0.25 is about 25 %, the limit of delta1.
_ERROR_RANGE = 0.25
_WIDTH = 320
_QUALITY = 85
# Width of a dot in the finished picture.
_DOT = 4
_UNKNOWN = 110
_NEARER, _FARTHER, _RIGHT, _WRONG = (0, 220, 60), (255, 80, 40), (0, 220, 60), (255, 0, 0)


def picture_name(data: str, index: int, what: str, model: str = '') -> str:
    """Where a picture lies in the output folder."""
    of_model = f'-{model}' if model else ''
    return f'pictures/{data}/{index:07d}{of_model}-{what}.jpg'


def save_pictures(
    folder: Folder, names: tuple[str, str], index: int, sample: Sample, prediction: Prediction, scored: Scored
) -> None:
    """Write the pictures of one image and one network's prediction: JPEG, 320 pixels wide.

    Args:
        folder: the evaluation's output.
        names: of the network and of the data set.
        index: of the sample in the data set.
        sample, prediction, scored: what was predicted, how, and how well.
    """
    model, data = names
    if scored.truth is None or scored.to_metres is None:
        pictures = {(IMAGE, ''): _with_pairs(sample.image, sample, None)}
        colours = colorize(_small(prediction.nearness))
        pictures[PREDICTION, model] = _with_pairs(colours, sample, prediction)
    else:
        truth, depth = scored.truth, scored.to_metres(prediction.values, prediction.kind)
        limits = _limits(truth)
        pictures = {
            (IMAGE, ''): sample.image,
            (TRUTH, ''): _at_truth(1.0 / truth.depth, truth, sample, 'inferno', limits),
            (PREDICTION, model): colorize((1.0 / depth).astype(np.float32), limits=limits),
        }
        error = np.abs(np.log(truth.at(depth)) - np.log(truth.depth))
        pictures[ERROR, model] = _at_truth(error, truth, sample, 'viridis', (0.0, _ERROR_RANGE))
    for (what, of_model), picture in pictures.items():
        folder.write(picture_name(data, index, what, of_model), encode_jpeg(_small(picture), _QUALITY))


def _limits(truth: Truth) -> tuple[float, float]:
    low, high = np.percentile(1.0 / truth.depth, [2, 98])
    # A wall: one depth needs a range to have a colour.
    return (float(low), float(high)) if high > low else (0.5 * float(low), 1.5 * float(high))


def _at_truth(
    values: np.ndarray, truth: Truth, sample: Sample, colormap: str, limits: tuple[float, float]
) -> np.ndarray:
    """Values at the pixels of the truth as colours, grey elsewhere; sparse ones as dots large enough to be seen."""
    image = np.full(sample.image.shape[:2], np.nan, np.float32)
    image[truth.where] = values
    colours, known = colorize(image, colormap, limits), np.isfinite(image)
    if not truth.dense:
        size = max(1, round(_DOT * image.shape[1] / _WIDTH))
        dot = np.ones((size, size), np.uint8)
        colours, known = cv2.dilate(colours, dot), cv2.dilate(known.astype(np.uint8), dot) > 0
    colours[~known] = _UNKNOWN
    return colours


def _with_pairs(picture: np.ndarray, sample: Sample, prediction: Prediction | None) -> np.ndarray:
    """The pairs drawn: nearer point green, farther red; with a prediction the line is green if right, red if wrong."""
    picture = _small(picture).copy()
    factor = np.array(picture.shape[:2]) / sample.image.shape[:2]
    for row1, column1, row2, column2 in sample.meta['pairs']:
        line = (255, 255, 255)
        if prediction is not None:
            line = _RIGHT if prediction.nearness[row1, column1] > prediction.nearness[row2, column2] else _WRONG
        first, second = (
            (int(column * factor[1]), int(row * factor[0])) for row, column in ((row1, column1), (row2, column2))
        )
        cv2.line(picture, first, second, line, 1, cv2.LINE_AA)
        cv2.circle(picture, first, 4, _NEARER, -1, cv2.LINE_AA)
        cv2.circle(picture, second, 4, _FARTHER, -1, cv2.LINE_AA)
    return picture


def _small(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if width <= _WIDTH:
        return picture
    return cv2.resize(picture, (_WIDTH, max(1, round(height * _WIDTH / width))), interpolation=cv2.INTER_AREA)
