"""`python -m models.evaluation`."""

from models.evaluation.predictors import main

main()
