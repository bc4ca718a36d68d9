"""Data: samples, shards, readers of data sets, augmentation, and loading in an order that can be resumed."""

from training.data.sample import Dataset, Sample
from training.data.shards import ShardDataset, ShardWriter, read_shard_names

__all__ = ['Dataset', 'Sample', 'ShardDataset', 'ShardWriter', 'read_shard_names']
