"""A picture of what was kept and what was dropped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from training.data.shards import decode_image, encode_jpeg
from training.ingest.units import KEPT, THUMBNAIL_HEIGHT

_MARGIN, _LABEL_HEIGHT = 6, 22
_WIDTH = 160
# Neither that of an overexposed frame nor of a dark one.
_BACKGROUND = 190
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_contact_sheet(
    examples: Sequence[Mapping[str, Sequence[str]]], counts: Mapping[str, int], columns: int
) -> bytes:
    """A row for each outcome, kept first, of up to `columns` thumbnails, as JPEG.

    Args:
        examples: of each unit, thumbnails by outcome (base64 of JPEG); all units get a turn before one gets two.
        counts: how many frames had each outcome; those of outcomes without a picture are named too.
        columns: thumbnails in a row.
    """
    outcomes = sorted(counts, key=lambda outcome: (outcome != KEPT, outcome))
    rows = [_row(outcome, counts[outcome], _take(examples, outcome, columns), columns) for outcome in outcomes]
    return encode_jpeg(np.concatenate(rows), quality=90)


def _take(examples: Sequence[Mapping[str, Sequence[str]]], outcome: str, most: int) -> list[np.ndarray]:
    of_units = [unit.get(outcome, ()) for unit in examples]
    turns = max(map(len, of_units), default=0)
    chosen = [images[turn] for turn in range(turns) for images in of_units if turn < len(images)]
    # Evenly over the units where there are more than places.
    picked = [chosen[index] for index in np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(int)]
    return [decode_image(outcome, base64.b64decode(text)) for text in picked]


def _row(outcome: str, count: int, images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    height = _LABEL_HEIGHT + (THUMBNAIL_HEIGHT + _MARGIN if images else 0)
    row = np.full((height, _MARGIN + columns * (_WIDTH + _MARGIN), 3), _BACKGROUND, np.uint8)
    cv2.putText(row, f'{outcome}: {count}', (_MARGIN, _LABEL_HEIGHT - 7), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    for place, image in enumerate(images):
        left = _MARGIN + place * (_WIDTH + _MARGIN)
        shown = _fit(image)
        row[_LABEL_HEIGHT : _LABEL_HEIGHT + THUMBNAIL_HEIGHT, left : left + shown.shape[1]] = shown
    return row


def _fit(image: np.ndarray) -> np.ndarray:
    """Cut a wide one at both sides."""
    excess = max(image.shape[1] - _WIDTH, 0)
    return image[:, excess // 2 : excess // 2 + _WIDTH]
