"""Trained models, loaded from their run folders alone."""
