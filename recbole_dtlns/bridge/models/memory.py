"""Whether a model's embeddings can be held at all; torch would say so in bytes alone, after hours of preparation."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.models.capabilities import is_closed_form
from recbole_dtlns.errors import ConfigError

_BYTES = 4  # of a number in single precision


def check_embeddings_fit(config: Any, dataset: Dataset) -> None:
    """Refuse an `embedding_size` at which the vectors of all users and items are larger than the memory.

    Training takes about four times as much (gradients, and Adam's two averages), so one that passes may still fail.

    Args:
        config: of the run; its `device` says which memory.
        dataset: whose users and items get vectors.

    Raises:
        ConfigError: they do not fit; it names the key, the bytes and the largest size that could do.
    """
    size = config["embedding_size"]
    if not isinstance(size, int) or is_closed_form(config):
        return
    memory, where = psutil.virtual_memory().total, "memory"
    if torch.device(config["device"]).type == "cuda":
        on_device = torch.cuda.get_device_properties(config["device"]).total_memory
        if on_device < memory:
            memory, where = on_device, "memory of the GPU"
    rows = dataset.user_num + dataset.item_num
    needed = _BYTES * rows * size
    if needed > memory:
        raise ConfigError(
            f"embedding_size is {size}: the vectors of {dataset.user_num - 1} users and {dataset.item_num - 1} items "
            f"take {needed} bytes ({needed / 2**30:,.0f} GiB), and the {where} has {memory / 2**30:,.0f} GiB. Set "
            f"embedding_size lower; training takes four times the vectors, so at most {memory // (4 * _BYTES * rows)}"
        )
