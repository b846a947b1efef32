"""Studies of several runs: comparisons, searches, and judging without training."""
