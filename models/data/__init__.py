"""People and their joints, read, varied and relabelled."""
