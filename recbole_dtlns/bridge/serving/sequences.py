"""The latest sequence of every user: what a sequential model is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform

from recbole_dtlns.bridge.models.kinds import capability


@dataclass(frozen=True)
class Sequences:
    """Items of every user in their order, the latest at the end of its length.

    Attributes:
        items: int32 [n_users, MAX_ITEM_LIST_LENGTH], zeros behind a sequence.
        lengths: int32 [n_users]; 0 for users of whom RecBole makes no row, which have one item or none.
        owners: the model's id of every user, where they are not the model's own; 0 for users that it does not know.
    """

    items: np.ndarray
    lengths: np.ndarray
    owners: np.ndarray | None = None

    @classmethod
    def given(cls, histories: Sequence[np.ndarray], owners: np.ndarray, longest: int) -> Self:
        """Of histories that somebody has: the latest items of each.

        Args:
            histories: ids of items in their order, one array for every user; the first is of the padding's user.
            owners: as for the class.
            longest: length of a sequence.
        """
        latest = [history[-longest:] for history in histories]
        items = np.zeros((len(latest), longest), np.int32)
        for row, history in enumerate(latest):
            items[row, : len(history)] = history
        return cls(items, np.array([len(history) for history in latest], np.int32), owners)

    @classmethod
    def of(cls, parts: list[SequentialDataset]) -> Self:
        """Of all that the parts hold: train, validation and test, which follow each other in every user's time."""
        first = parts[0]
        longest = first.max_item_list_len
        found = cls(np.zeros((first.user_num, longest), np.int32), np.zeros(first.user_num, np.int32))
        for part in parts:
            users = part.inter_feat[part.uid_field].numpy()
            last = np.zeros(part.user_num, dtype=np.int64)
            last[users] = np.arange(len(users))
            there = np.unique(users)
            rows = last[there]
            lists = part.inter_feat[part.item_id_list_field].numpy()[rows]
            before = np.zeros((len(rows), longest), lists.dtype)
            before[:, : lists.shape[1]] = lists  # of files that were split in advance, as long as the longest there
            lengths = part.inter_feat[part.item_list_length_field].numpy()[rows]
            full = lengths == longest
            before[full, :-1] = before[full, 1:]
            place = np.minimum(lengths, longest - 1)
            before[np.arange(len(rows)), place] = part.inter_feat[part.iid_field].numpy()[rows]
            found.items[there], found.lengths[there] = before, place + 1
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """What a run folder keeps."""
        return {"items": self.items, "lengths": self.lengths}

    def rows(self, users: np.ndarray, dataset: SequentialDataset) -> Interaction:
        """What the model reads of the sequences of users [B], as RecBole's evaluation gives it.

        A user without a sequence has one of the padding item alone.
        """
        config: Any = dataset.config
        asked = {
            dataset.iid_field: np.zeros(len(users), dtype=np.int64),  # some models look at it, and use none of it
            dataset.uid_field: users if self.owners is None else self.owners[users],
            dataset.iid_field + config["LIST_SUFFIX"]: self.items[users].astype(np.int64),
            dataset.item_list_length_field: np.maximum(self.lengths[users], 1).astype(np.int64),
        }
        if capability(config.model_class).reads_drawn_sequences:  # and only its loss looks at what is there
            drawn = config["NEG_PREFIX"] + dataset.iid_field + config["LIST_SUFFIX"]
            asked[drawn] = np.zeros_like(asked[dataset.iid_field + config["LIST_SUFFIX"]])
        rows = Interaction({name: torch.as_tensor(values) for name, values in asked.items()})
        return construct_transform(config)(dataset, dataset.join(rows))
