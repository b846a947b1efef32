"""Negatives: which items may be drawn, and which of those drawn is the hard one."""
