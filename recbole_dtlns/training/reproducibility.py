"""The same sums in the same order, whatever the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def reproducible_training(config: Any) -> Iterator[None]:
    """Within the context, training on a CPU gives the same weights every time.

    RecBole's `reproducibility: True` seeds the generators and fixes cuDNN. On several CPU threads that is not
    enough: the gradient of looking rows up in a propagated embedding (as LightGCN does) is added up in the order in
    which threads finish. torch's deterministic algorithms fix the order at no measurable cost on a CPU; on a GPU, where
    they do cost and some operations have none, RecBole's behaviour stays.
    """
    if not config["reproducibility"] or config["device"].type != "cpu":
        yield
        return
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        memory.fill_uninitialized_memory = filled
