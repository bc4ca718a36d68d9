"""A world in which the truth is painted into the image, and networks that read it.

A module of its own name, since a reading process must import what it unpickles: every conftest.py is `conftest`.
"""

import numpy as np

from depth_anything_ros.estimation import NonFinitePredictionError, Prediction, Timings
from training.data import Dataset, Sample
from training.errors import BadSampleError

SCALE, SHIFT = 0.01, 0.004


def painted(key, seed=0, size=(48, 64), **meta):
    """A sample whose red channel r says its depth: 1 / depth = SCALE * r + SHIFT, so 0.4 to 71 m."""
    red = np.random.default_rng(seed).integers(1, 256, size)
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0] = red
    depth = (1.0 / (SCALE * red + SHIFT)).astype(np.float32)
    return Sample(key, image, depth=depth, meta=meta)


class Reading:
    """An estimator of relative disparity that reads the image; change says what it makes of it, by count of calls."""

    kind = 'disparity'

    def __init__(self, change=lambda red, call: red):
        self.change, self.calls = change, 0

    def __call__(self, image):
        values = np.asarray(self.change(image[..., 0].astype(np.float32), self.calls), np.float32)
        self.calls += 1
        if not np.isfinite(values).all():
            raise NonFinitePredictionError('the output has NaN')
        return Prediction(values, self.kind, image.shape[:2], Timings(0.0, 0.0, 0.0))


class Metric(Reading):
    """The same with metres; change gets the true depth."""

    kind = 'depth'

    def __init__(self, change=lambda depth, call: depth):
        super().__init__(lambda red, call: change(1.0 / (SCALE * red + SHIFT), call))


class Listed(Dataset):
    """A data set of samples, or of the messages of those that cannot be read."""

    def __init__(self, samples):
        self.samples, self.name = samples, 'listed'

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        sample = self.samples[index]
        if isinstance(sample, Exception):
            raise sample
        if isinstance(sample, str):
            raise BadSampleError(sample)
        return sample

    def key(self, index):
        sample = self.samples[index]
        return sample if isinstance(sample, str) else sample.key

    @property
    def fingerprint(self):
        return 'listed'
