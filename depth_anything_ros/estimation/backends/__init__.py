"""What runs the network: torch, OpenVINO or ONNX Runtime, behind one interface."""

from depth_anything_ros.estimation.backends.interface import Backend
from depth_anything_ros.estimation.backends.selection import make_backend

__all__ = ['Backend', 'make_backend']
