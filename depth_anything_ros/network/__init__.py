"""The network as the papers define it: a DINOv2 encoder and a DPT head, in pure torch and timm."""

from depth_anything_ros.network.architectures import ARCHITECTURES, IMAGE_MEAN, IMAGE_STD, Architecture
from depth_anything_ros.network.model import DepthAnything
from depth_anything_ros.network.reduced import reduced
from depth_anything_ros.network.state_dict import StateDictMismatchError
from depth_anything_ros.network.weights import WeightSource, weights_fingerprint

__all__ = [
    'ARCHITECTURES',
    'IMAGE_MEAN',
    'IMAGE_STD',
    'Architecture',
    'DepthAnything',
    'StateDictMismatchError',
    'WeightSource',
    'reduced',
    'weights_fingerprint',
]
