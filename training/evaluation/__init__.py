"""Evaluation: protocols pinned in files, scores per image, whether one network is better than another, reports."""

from training.evaluation.comparison import Comparison, compare
from training.evaluation.protocol import Protocol, read_protocol
from training.evaluation.results import Result, read_results

__all__ = ['Comparison', 'Protocol', 'Result', 'compare', 'read_protocol', 'read_results']
