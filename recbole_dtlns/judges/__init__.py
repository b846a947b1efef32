"""Judges: is a candidate a false negative?"""
