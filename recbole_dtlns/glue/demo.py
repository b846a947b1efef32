"""`recbole-dtlns demo`: plain RecBole and DTL-NS on ml-100k, side by side, with what the difference is worth."""

from __future__ import annotations


def run_demo(output: str) -> None:
    raise NotImplementedError
