"""From an image to a prediction: preprocessing, the estimator, execution backends, export."""

from depth_anything_ros.estimation.errors import (
    BackendUnavailableError,
    DeviceMemoryError,
    DeviceUnavailableError,
    NonFinitePredictionError,
    PrecisionUnavailableError,
)
from depth_anything_ros.estimation.estimator import PREDICTION_ERRORS, UNAVAILABLE_ERRORS, DepthEstimator
from depth_anything_ros.estimation.prediction import Prediction, Timings
from depth_anything_ros.estimation.preprocessing import ImageShapeError, network_size, preprocess

__all__ = [
    'PREDICTION_ERRORS',
    'UNAVAILABLE_ERRORS',
    'BackendUnavailableError',
    'DepthEstimator',
    'DeviceMemoryError',
    'DeviceUnavailableError',
    'ImageShapeError',
    'NonFinitePredictionError',
    'PrecisionUnavailableError',
    'Prediction',
    'Timings',
    'network_size',
    'preprocess',
]
