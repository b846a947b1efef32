"""Negatives by id: which of the candidates drawn becomes the negative."""
