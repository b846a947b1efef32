"""Trainings whose curves nobody looks at: teachers, and all processes of a run but the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recbole.trainer import trainer as recbole_trainer


class _SilentWriter:
    """Stands in for a TensorBoard writer."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None: ...

    def add_hparams(self, *args: Any, **kwargs: Any) -> None: ...

    def close(self) -> None: ...


@contextmanager
def no_tensorboard() -> Iterator[None]:
    """Within the context, RecBole's trainers open no writer."""
    original = recbole_trainer.get_tensorboard
    recbole_trainer.get_tensorboard = lambda logger: _SilentWriter()
    try:
        yield
    finally:
        recbole_trainer.get_tensorboard = original
