"""From relative to metric: the alignment value, the robust fit, and the sources of evidence."""

from depth_anything_ros.alignment.aligner import Aligner, AlignmentState
from depth_anything_ros.alignment.fit import (
    Alignment,
    AlignmentError,
    DegenerateEvidenceError,
    TooFewSamplesError,
    UninformativeDisparityError,
    fit_scale_shift,
)
from depth_anything_ros.alignment.sources import (
    SOURCES,
    AlignmentSource,
    DepthSource,
    EvidenceError,
    FixedSource,
    NoSource,
    Samples,
    SparseDepth,
)

__all__ = [
    'SOURCES',
    'Aligner',
    'Alignment',
    'AlignmentError',
    'AlignmentSource',
    'AlignmentState',
    'DegenerateEvidenceError',
    'DepthSource',
    'EvidenceError',
    'FixedSource',
    'NoSource',
    'Samples',
    'SparseDepth',
    'TooFewSamplesError',
    'UninformativeDisparityError',
    'fit_scale_shift',
]
