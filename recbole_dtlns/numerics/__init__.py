"""Arithmetic that knows no recommender: random numbers by counter, key look-ups, largest entries, exact algebra."""
