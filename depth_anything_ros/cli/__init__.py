"""The executable depth-anything: the pipeline on files."""
