"""Pseudo-labels: a teacher over shards, in this process or in many."""
