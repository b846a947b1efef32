"""Item trees: vectors to balanced trees, paths, and the similarity of two items in one tree."""
