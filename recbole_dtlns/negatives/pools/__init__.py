"""Pools: which items may be drawn."""
