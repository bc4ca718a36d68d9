"""The network as the papers define it: a DINOv2 encoder and a DPT head, in pure torch and timm."""

from .architectures import ARCHITECTURES, Architecture
from .model import DepthAnything
from .state_dict import StateDictMismatchError
from .weights import WeightSource

__all__ = ['ARCHITECTURES', 'Architecture', 'DepthAnything', 'StateDictMismatchError', 'WeightSource']
