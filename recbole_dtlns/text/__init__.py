"""Encoders: from what items say to vectors."""

from recbole_dtlns.text.contract import Encoder, RunningEncoder, TextwiseEncoder

__all__ = ["Encoder", "RunningEncoder", "TextwiseEncoder"]
