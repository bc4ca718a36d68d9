"""A picture of what was kept and what was dropped, and why, to set the thresholds by."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.shards import decode_image, encode_jpeg
from training.ingest.settings import Settings

KEPT = 'kept'
_HEIGHT, _WIDTH = 90, 160
_MARGIN, _LABEL_HEIGHT, _LINE_HEIGHT = 6, 26, 14
# Room for the labels.
_LEAST_COLUMNS = 5
# Neither that of an overexposed frame nor of a dark one; and behind a picture that does not fill its place.
_BACKGROUND, _PLACE = 200, 175
_FONT, _LABEL_SIZE, _CAPTION_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0.38


@dataclass(frozen=True)
class Example:
    """A frame to look at. picture: a small one, JPEG. measured: as of a Verdict. where: which frame it is."""

    picture: bytes
    measured: str
    where: str

    @classmethod
    def of(cls, image: np.ndarray, measured: str, where: str) -> Example:
        """Of a frame, (H, W, 3) uint8 RGB."""
        height, width = image.shape[:2]
        scale = min(_HEIGHT / height, _WIDTH / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cls(encode_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA)), measured, where)

    @classmethod
    def from_json(cls, values: Mapping[str, str]) -> Example:
        """From what as_json gave."""
        return cls(**{**values, 'picture': base64.b64decode(values['picture'])})

    def as_json(self) -> dict[str, str]:
        """JSON values."""
        return {'picture': base64.b64encode(self.picture).decode(), 'measured': self.measured, 'where': self.where}


def draw_contact_sheet(
    examples: Sequence[Mapping[str, Sequence[Example]]], counts: Mapping[str, int], settings: Settings
) -> bytes:
    """A row for each outcome, kept first, of up to settings.contact_sheet examples, as JPEG.

    Args:
        examples: of each unit, by outcome; all units get a turn before one gets two.
        counts: how many frames had each outcome; those of outcomes without a picture are named too.
        settings: with the thresholds, which are named.
    """
    outcomes, total = sorted(counts, key=lambda outcome: (outcome != KEPT, outcome)), sum(counts.values())
    rows = []
    for outcome in outcomes:
        label = f'{outcome}: {counts[outcome]} of {total} ({counts[outcome] / total:.1%})'
        why = _why(outcome, settings)
        chosen = _take(examples, outcome, settings.contact_sheet)
        rows.append(_row(f'{label}, {why}' if why else label, chosen, settings.contact_sheet))
    return encode_jpeg(np.concatenate(rows), quality=90)


def _why(outcome: str, settings: Settings) -> str:
    return {
        'blurred': f'sharpness below min_sharpness={settings.min_sharpness:g}',
        'dark': f'brightness below min_brightness={settings.min_brightness:g}',
        'duplicate': f'difference to the last kept below min_difference={settings.min_difference:g}',
        'gap': f'within held_out_gap_s={settings.held_out_gap_s:g} of a held-out block: not looked at',
        'overexposed': f'saturated above max_saturated={settings.max_saturated:g}',
        'too_soon': f'within every_s={settings.every_s:g} of the last kept: not looked at',
        'uncalibrated': 'no CameraInfo to undistort with, see "problems" in manifest.json',
        'undecodable': 'no picture, see "problems" in manifest.json',
    }.get(outcome, '')


def _take(examples: Sequence[Mapping[str, Sequence[Example]]], outcome: str, most: int) -> list[Example]:
    of_units = [unit.get(outcome, ()) for unit in examples]
    turns = max(map(len, of_units), default=0)
    chosen = [found[turn] for turn in range(turns) for found in of_units if turn < len(found)]
    # Evenly over the units where there are more than places.
    return [chosen[index] for index in np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(int)]


def _row(label: str, examples: Sequence[Example], columns: int) -> np.ndarray:
    height = _LABEL_HEIGHT + (_HEIGHT + 2 * _LINE_HEIGHT + _MARGIN if examples else 0)
    width = _MARGIN + max(columns, _LEAST_COLUMNS) * (_WIDTH + _MARGIN)
    row = np.full((height, width, 3), _BACKGROUND, np.uint8)
    _write(row, label, _MARGIN, _LABEL_HEIGHT - 8, _LABEL_SIZE)
    for place, example in enumerate(examples):
        left = _MARGIN + place * (_WIDTH + _MARGIN)
        row[_LABEL_HEIGHT : _LABEL_HEIGHT + _HEIGHT, left : left + _WIDTH] = _framed(example)
        for number, line in enumerate((example.measured, example.where), 1):
            _write(row, _end_of(line), left, _LABEL_HEIGHT + _HEIGHT + number * _LINE_HEIGHT - 3, _CAPTION_SIZE)
    return row


def _end_of(text: str) -> str:
    """As much as there is room for below a picture: the end of a name tells more than its beginning."""
    while cv2.getTextSize(text, _FONT, _CAPTION_SIZE, 1)[0][0] > _WIDTH:
        text = text[1:]
    return text


def _framed(example: Example) -> np.ndarray:
    """The picture in the middle of its place."""
    framed = np.full((_HEIGHT, _WIDTH, 3), _PLACE, np.uint8)
    image = decode_image(example.where, example.picture)
    height, width = image.shape[:2]
    top, left = (_HEIGHT - height) // 2, (_WIDTH - width) // 2
    framed[top : top + height, left : left + width] = image
    return framed


def _write(row: np.ndarray, text: str, left: int, bottom: int, size: float) -> None:
    cv2.putText(row, text, (left, bottom), _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
