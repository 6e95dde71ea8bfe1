"""Training: `python -m models.training`."""
