"""RecBole's collector of evaluation, which also keeps the lists that it ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.evaluator.collector import Collector, DataStruct

from recbole_dtlns.evaluation.rankings import Rankings


class RankingCollector(Collector):
    """RecBole's collector, keeping ranked lists, and mended for metrics that count (ItemCoverage, GiniIndex, ...).

    RecBole moves all that it collected to the CPU as if it were tensors, and fails at the counts of the train split.

    Attributes:
        depth: length of the lists that are kept; 0 keeps none.
    """

    depth = 0

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._lists: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def eval_batch_collect(self, scores_tensor: Any, interaction: Any, positive_u: Any, positive_i: Any) -> None:
        """As RecBole does; a batch without scores is another process's."""
        if scores_tensor is None:
            return
        if self.depth:
            users = interaction[self.config["USER_ID_FIELD"]].cpu().numpy()
            best = scores_tensor.topk(min(self.depth, scores_tensor.shape[1]), dim=1)
            self._lists.append((users, best.indices.cpu().numpy(), best.values.float().cpu().numpy()))
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)

    def rankings(self) -> Rankings:
        """The lists since the last call."""
        users, items, scores = (np.concatenate(arrays) for arrays in zip(*self._lists, strict=True))
        self._lists.clear()
        return Rankings(users, np.where(np.isneginf(scores), -1, items), scores)

    def get_data_struct(self) -> DataStruct:
        """As RecBole does; on each of several processes, what all of them collected, in the order of one."""
        entries = self.data_struct._data_dict
        counts = {key: entries.pop(key) for key in list(entries) if not isinstance(entries[key], torch.Tensor)}
        collected = super().get_data_struct()
        if self.config.processes.several:
            parts = self.config.processes.of_all(collected._data_dict)
            for name in dict.fromkeys(name for part in parts for name in part):
                collected._data_dict[name] = torch.cat([part[name] for part in parts if name in part])
        entries.update(counts)
        collected._data_dict.update(counts)
        return collected
