"""PLY files as their header alone says what they are."""

import numpy as np


def read_ply(path):
    """Vertices as a structured array, by the header alone."""
    header, data = path.read_bytes().split(b'end_header\n', 1)
    lines = header.decode('ascii').splitlines()
    assert lines[:2] == ['ply', 'format binary_little_endian 1.0']
    kinds = {'float': '<f4', 'uchar': 'u1'}
    fields = [(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith('property')]
    (count,) = (int(line.split()[2]) for line in lines if line.startswith('element vertex'))
    vertices = np.frombuffer(data, fields)
    assert len(vertices) == count
    return vertices
