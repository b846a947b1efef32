"""Hyperparameter search with Ray Tune: space, trial, search, results."""
