"""Interactions and sets of pairs in canonical ids, the files that they come from, and pairs hidden on purpose."""
