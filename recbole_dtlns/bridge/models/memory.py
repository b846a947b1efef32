"""Whether embeddings, and scores of whole lists, can be held; torch would say so in bytes, after hours of preparing."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.models.capabilities import is_closed_form
from recbole_dtlns.errors import ConfigError

_BYTES = 4  # of a number in single precision
_TABLES_OF_SCORES = 5  # that a step over lists holds at once: scores, masked ones, their gradients, and a mask


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
    memory, where = _memory(config)
    rows = dataset.user_num + dataset.item_num
    needed = _BYTES * rows * size
    if needed > memory:
        raise ConfigError(
            f"embedding_size is {size}: the vectors of {dataset.user_num - 1} users and {dataset.item_num - 1} items "
            f"take {needed} bytes ({needed / 2**30:,.0f} GiB), and the {where} has {memory / 2**30:,.0f} GiB. Set "
            f"embedding_size lower; training takes four times the vectors, so at most {memory // (4 * _BYTES * rows)}"
        )


def check_scores_fit(config: Any, dataset: Dataset) -> None:
    """Refuse a loss over lists whose scores of one batch are larger than the memory.

    Args:
        config: of the run; its `device` says which memory.
        dataset: whose items are ranked.

    Raises:
        ConfigError: they do not fit; it names the keys and the bytes.
    """
    loss = config.settings.list_loss
    if loss is None:
        return
    users, columns = loss.config.users_at_once(dataset.user_num - 1), loss.config.items or dataset.item_num - 1
    memory, where = _memory(config)
    needed = _TABLES_OF_SCORES * _BYTES * users * columns
    if needed > memory:
        raise ConfigError(
            f"dtlns_loss: {config.settings.loss} ranks {columns} items for {users} users at once, which takes about "
            f"{needed / 2**30:,.0f} GiB, and the {where} has {memory / 2**30:,.0f} GiB. Set dtlns_loss_items lower "
            "than the number of items (such as 4096 draws that a batch shares), or dtlns_loss_users lower"
        )


def _memory(config: Any) -> tuple[int, str]:
    """Bytes of the memory that tensors of a run lie in, and what to call it; of two, the smaller."""
    memory, where = psutil.virtual_memory().total, "memory"
    if torch.device(config["device"]).type == "cuda":
        on_device = torch.cuda.get_device_properties(config["device"]).total_memory
        if on_device < memory:
            return on_device, "memory of the GPU"
    return memory, where
