"""From relative to metric: the hook and its sources, the robust fit, and its tracking over time."""

from depth_anything_ros.alignment.aligner import AlignedFrame, Aligner, AlignerSettings, AlignmentState
from depth_anything_ros.alignment.alignment import (
    Alignment,
    AlignmentError,
    DegenerateEvidenceError,
    InvertedDisparityError,
    TooFewSamplesError,
    UninformativeDisparityError,
)
from depth_anything_ros.alignment.fit import MIN_SAMPLES, fit_scale_shift
from depth_anything_ros.alignment.hook import (
    SCALE_REFERENCE,
    AlignmentSource,
    EvidenceError,
    FrameSource,
    Prior,
    Samples,
    View,
    parameter,
    parameters_of,
)
from depth_anything_ros.alignment.registry import ENTRY_POINTS, UnknownSourceError, make_source, source_types
from depth_anything_ros.alignment.stabilizer import Stabilizer
from depth_anything_ros.alignment.tracker import Tracker

__all__ = [
    'ENTRY_POINTS',
    'MIN_SAMPLES',
    'SCALE_REFERENCE',
    'AlignedFrame',
    'Aligner',
    'AlignerSettings',
    'Alignment',
    'AlignmentError',
    'AlignmentSource',
    'AlignmentState',
    'DegenerateEvidenceError',
    'EvidenceError',
    'FrameSource',
    'InvertedDisparityError',
    'Prior',
    'Samples',
    'Stabilizer',
    'TooFewSamplesError',
    'Tracker',
    'UninformativeDisparityError',
    'UnknownSourceError',
    'View',
    'fit_scale_shift',
    'make_source',
    'parameter',
    'parameters_of',
    'source_types',
]
