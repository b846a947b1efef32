"""Comparisons: several arms on the same splits and seeds, what they differ in, and whether that is chance."""
