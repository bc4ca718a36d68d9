"""What a topic's name says."""

import pytest

from depth_anything_ros.messages import names_rectified_images


@pytest.mark.parametrize(
    ('topic', 'rectified'),
    [
        ('/camera/image_rect', True),
        ('/camera/image_rect_color', True),
        ('/camera/infra1/image_rect_raw', True),
        ('/left/image_mono_rect', True),
        ('/oak/rect', True),
        ('/left/image_rectified', True),
        ('/left/rectified_image', True),
        ('image_rect', True),
        ('/camera/image_raw', False),
        ('/camera/image_corrected', False),
        ('/camera/direct', False),
        ('/camera/rectangle', False),
        ('/camera/image_unrect', False),
        ('/image_rect/image_raw', False),
    ],
)
def test_a_rectified_image_is_told_by_a_word_of_the_last_part(topic, rectified):
    assert names_rectified_images(topic) == rectified
