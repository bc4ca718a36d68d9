"""Synthetic scenes: what a robot sees, made of numbers, with the depth of every pixel known exactly.

`scenes` builds a world of textured triangles from a seed, `camera` looks at it, `render` casts the rays and shades what
they hit, `sensor` makes the light a picture. The world has x and y level, z up, metres.
"""
