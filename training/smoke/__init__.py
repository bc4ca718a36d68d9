"""All of the training at a size of minutes, as evidence: synthesize, teacher, label, student, evaluate."""
