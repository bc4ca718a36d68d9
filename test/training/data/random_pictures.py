"""Pictures of random squares, for the tests of what is done to pictures."""

import numpy as np


def generator(seed=0):
    return np.random.default_rng(seed)


def picture(height=96, width=128, seed=0):
    coarse = generator(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)
