"""CutMix boxes: as large, as long and as frequent as the author's, and always inside."""

import numpy as np
import pytest

from training.data.cutmix import paste, sample_box


def sides(box):
    rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize('size', [(256, 256), (256, 320), (560, 140), (112, 518)])
def test_boxes_are_whole_rectangles_of_the_area_and_aspect_asked_for(size):
    generator = np.random.default_rng(0)
    boxes = [sample_box(size, generator, probability=1.0) for _ in range(300)]
    areas, aspects = [], []
    for box in boxes:
        tall, wide = sides(box)
        assert box.shape == size
        assert box.sum() == tall * wide
        areas.append(box.mean())
        aspects.append(tall / wide)
    # Sides are cut to whole pixels, so an area may be a little less.
    assert 0.017 < min(areas) < 0.06
    assert 0.34 < max(areas) <= 0.4
    assert min(aspects) > 0.25
    assert max(aspects) < 3.7


def test_a_square_image_gets_boxes_of_all_areas_at_all_places():
    generator = np.random.default_rng(1)
    boxes = np.array([sample_box((64, 64), generator, probability=1.0) for _ in range(2000)])
    areas = boxes.mean((1, 2))
    # U(0.02, 0.4) has the mean 0.21 and the quartiles 0.115 and 0.305.
    assert np.allclose(np.quantile(areas, (0.25, 0.5, 0.75)), (0.115, 0.21, 0.305), atol=0.02)
    covered = boxes.mean(0)
    assert covered[0, 0] > 0
    assert covered[-1, -1] > 0
    assert np.abs(covered - covered[::-1, ::-1]).max() < 0.06


@pytest.mark.parametrize('probability', [0.0, 0.5, 1.0])
def test_there_is_a_box_as_often_as_asked(probability):
    generator = np.random.default_rng(2)
    share = np.mean([sample_box((32, 48), generator, probability).any() for _ in range(1000)])
    assert share == pytest.approx(probability, abs=0.05)


def test_a_ribbon_is_refused_instead_of_drawn_for_ever():
    with pytest.raises(ValueError, match='8 to 1'):
        sample_box((14, 126), np.random.default_rng(0))


def test_the_other_image_is_inside_the_box_and_neither_is_changed():
    image, other = (np.full((6, 8, 3), value, np.uint8) for value in (10, 200))
    box = np.zeros((6, 8), bool)
    box[1:4, 2:7] = True
    mixed = paste(image, other, box)
    assert (mixed[box] == 200).all()
    assert (mixed[~box] == 10).all()
    assert np.unique(image) == 10
    assert np.unique(other) == 200
