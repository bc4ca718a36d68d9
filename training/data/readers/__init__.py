"""Readers of data sets in their layouts on disk, one module each."""
