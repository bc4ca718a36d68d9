"""What the benchmarks of the command line, the node and the training have in common."""
