"""Training of Depth Anything: teacher, pseudo-labels, student, from data sets or from a robot's own bags."""
