"""`python -m models.training`."""

from models.training.run import parse_options, train

train(parse_options())
