"""How fast the training is on this machine: the student's step, and pseudo-labels."""
