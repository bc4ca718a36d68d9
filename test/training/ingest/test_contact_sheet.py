"""The picture by which a person sets the thresholds."""

import cv2
import numpy as np
import pytest

from training.data.shards import decode_image
from training.data.spec import DataSpec
from training.ingest.contact_sheet import Example, draw_contact_sheet
from training.ingest.settings import Settings
from training.stages import ingest

RED, GREEN, BLUE = (230, 20, 20), (20, 200, 20), (20, 20, 230)


def plain(colour, height=60, width=100):
    return np.full((height, width, 3), colour, np.uint8)


def where_it_is(sheet, colour):
    """The pixels of a colour, as rows and columns; JPEG changes them a little."""
    return np.nonzero(np.abs(sheet.astype(int) - colour).max(-1) < 40)


def drawn(examples, counts, **changes):
    return decode_image('sheet', draw_contact_sheet(examples, counts, Settings(**changes)))


def test_each_outcome_has_a_row_also_without_pictures_and_what_is_kept_is_first():
    kept, blurred = (Example.of(plain(colour), '', '') for colour in (RED, BLUE))
    examples = [{'kept': [kept, kept], 'blurred': [blurred]}, {'kept': [kept]}]
    sheet = drawn(examples, {'blurred': 1, 'kept': 3})
    red, blue = where_it_is(sheet, RED), where_it_is(sheet, BLUE)
    assert red[0].max() < blue[0].min()
    assert len(red[0]) == pytest.approx(3 * len(blue[0]), rel=0.05)
    more = drawn(examples, {'blurred': 1, 'kept': 3, 'undecodable': 7})
    assert more.shape[0] > sheet.shape[0]


@pytest.mark.parametrize('size', [(60, 300), (300, 60)])
def test_pictures_of_any_shape_are_shown_whole(size):
    image = plain(BLUE, *size)
    image[: size[0] // 2, : size[1] // 2] = RED
    image[size[0] // 2 :, size[1] // 2 :] = GREEN
    sheet = drawn([{'kept': [Example.of(image, '', '')]}], {'kept': 1})
    red, green = where_it_is(sheet, RED), where_it_is(sheet, GREEN)
    assert len(red[0]) == pytest.approx(len(green[0]), rel=0.3) != 0


def test_a_picture_is_above_what_was_measured_and_where_it_is_from():
    def ink(measured, where):
        sheet = drawn([{'kept': [Example.of(plain(RED, 90, 160), measured, where)]}], {'kept': 1})
        below = where_it_is(sheet, RED)[0].max() + 2
        return where_it_is(sheet[below:], (0, 0, 0))

    rows, columns = ink('sharpness 31.4', 'WWW/with/a/very/long/name/of/a/bag 12.5 s')
    assert len(rows) > len(ink('sharpness 31.4', '')[0]) > 0 == len(ink('', '')[0])
    assert columns.max() < 6 + 160  # it ends before the next picture


def test_what_only_one_part_of_the_input_has_still_fills_its_row(tmp_path):
    (tmp_path / 'source').mkdir()
    for number in range(40):
        coarse = np.random.default_rng(number).integers(40, 215, (15, 20, 3), np.uint8)
        image = plain(BLUE, 150, 200) if 10 <= number < 20 else np.repeat(np.repeat(coarse, 10, 0), 10, 1)
        cv2.imwrite(str(tmp_path / f'source/{number:03d}.png'), image[..., ::-1])
    spec = DataSpec('images', str(tmp_path / 'source'))
    chosen = ingest.Settings(images=[spec], output=str(tmp_path / 'out'), shard_size=10, contact_sheet=8)
    assert ingest.run(chosen)['dropped'] == {'blurred': 10}
    sheet = decode_image('sheet', (tmp_path / 'out/contact_sheet.jpg').read_bytes())
    assert len(where_it_is(sheet, BLUE)[0]) == pytest.approx(8 * 90 * 120, rel=0.05)
