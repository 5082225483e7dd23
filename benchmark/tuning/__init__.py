"""Search for hyperparameters, with the same budget for every method and on validation entities only."""
