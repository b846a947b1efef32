"""The pairs that the parts of a data set hold, their canonical form, and rows for further ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.dataset import Dataset, KnowledgeBasedDataset, SequentialDataset
from recbole.data.interaction import Interaction, cat_interactions

from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.repairs.features import OWN_TIME
from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed, PairSet
from recbole_dtlns.errors import DataError


@dataclass(frozen=True)
class ObservedRows:
    """All that the rows of a split hold, in RecBole's ids.

    Attributes:
        users, items: int64 [n].
        times: as the file has them, float [n]; None where the data have none.
        liked: bool [n]; None where the model learns no labels, or the data have none.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None = None
    liked: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """What there is, by attribute."""
        return {name: values for name, values in vars(self).items() if values is not None}

    def followed_by(self, other: ObservedRows) -> ObservedRows:
        """The rows of both."""
        own, others = self.arrays(), other.arrays()
        return ObservedRows(**{name: np.concatenate([own[name], others[name]]) for name in own if name in others})


def observed_pairs(part: Dataset) -> Observed:
    """The pairs that the rows of one split hold, in RecBole's ids.

    A row of a sequence holds its target and the items before it: of the train split, all that its users had by then.
    """
    rows = observed_rows(part)
    return Observed.of(rows.users, rows.items)


def target_pairs(part: Dataset) -> Observed:
    """The pairs that the rows of one split are there for, in RecBole's ids; of validation and test, what is asked."""
    feature = part.inter_feat
    return Observed.of(feature[part.uid_field].numpy(), feature[part.iid_field].numpy())


def canonical_train(part: Dataset) -> TrainInteractions:
    """The train split in canonical ids; it depends on its token pairs alone, and their times as the file has them.

    Rows that a model's labels say are not liked are nobody's positives.
    """
    rows = observed_rows(part)
    return TrainInteractions.from_tokens(
        part.field2id_token[part.uid_field][rows.users],
        part.field2id_token[part.iid_field][rows.items],
        rows.times,
        rows.liked,
    )


def label_column(part: Dataset) -> str | None:
    """The column that labels the rows of a split, where the model of its run learns labels and the data have some."""
    named = part.label_field if capability(part.config.model_class).labels else None
    return named if named in part.inter_feat.columns else None


def observed_rows(part: Dataset) -> ObservedRows:
    """All that the rows of one split hold: of sequences, targets and the items before them.

    Raises:
        DataError: rows are labelled, and the items before them are not.
    """
    feature = part.inter_feat
    time = OWN_TIME if OWN_TIME in feature.columns else part.time_field
    label = label_column(part)
    further = [name for name in (time, label) if name is not None and name in feature.columns]
    names = [part.uid_field, part.iid_field, *further]
    columns = [feature[name].numpy() for name in names]
    if isinstance(part, SequentialDataset):
        before = _of_sequences(part, names)
        if label is not None and len(before) < len(names):
            raise DataError(
                f"'{part.dataset_name}' labels its rows ({label}), and not the items before them: add a column "
                f"{label}{part.config['LIST_SUFFIX']}, or leave {label} out"
            )
        # In front: of one time, what came first in the rows' sequences comes first here too.
        columns = [np.concatenate(both) for both in zip(before, columns, strict=False)]
    users, items, *others = columns
    found = dict(zip(further, others, strict=False))
    liked = None if label is None else found[label] > 0
    return ObservedRows(users, items, found.get(time) if time is not None else None, liked)


def _of_sequences(part: SequentialDataset, names: list[str]) -> list[np.ndarray]:
    """The same columns of what stands in the rows' sequences and need not be the target of any row.

    RecBole makes a row for every item of a user but the first, which stands alone in the first of them. Rows that were
    made elsewhere are looked through whole.
    """
    feature, suffix = part.inter_feat, part.config["LIST_SUFFIX"]
    made_elsewhere = part.config["benchmark_filename"] is not None
    lengths = feature[part.item_list_length_field].numpy()
    rows = np.arange(len(lengths)) if made_elsewhere else np.flatnonzero(lengths == 1)
    lists = [feature[name + suffix].numpy()[rows] for name in names[1:] if name + suffix in feature.columns]
    there = lists[0] != 0
    owners = np.broadcast_to(feature[names[0]].numpy()[rows][:, None], there.shape)
    return [values[there] for values in (owners, *lists)]


def hide_train_pairs(part: Dataset, share: float, seed: int) -> tuple[Dataset, Observed]:
    """The train split without a share of every user's pairs, for experiments with known false negatives.

    Args:
        part: the train split.
        share: of every user's pairs, in [0, 1); every user keeps at least one.
        seed: of the choice.

    Returns:
        the reduced split, and the hidden pairs in RecBole's ids.
    """
    if share == 0:
        nothing = np.array([], dtype=np.int64)
        return part, Observed.of(nothing, nothing)
    train = canonical_train(part)
    keys = hide_positives(train, share, seed)[1]
    users, items = keys // train.n_items, keys % train.n_items
    hidden = Observed.of(
        part.token2id(part.uid_field, train.user_tokens[users]), part.token2id(part.iid_field, train.item_tokens[items])
    )
    width = part.item_num
    rows = part.inter_feat[part.uid_field].numpy() * width + part.inter_feat[part.iid_field].numpy()
    kept = torch.from_numpy(~np.isin(rows, hidden.users * width + hidden.items))
    return part.copy(part.inter_feat[kept]), hidden


def numbering(part: Dataset) -> str:
    """SHA-256 over the tokens in the order of RecBole's ids: equal where every id means the same user or item, and the
    same entity or relation of a graph of facts.

    RecBole numbers tokens as they appear, so the same pairs in another order of rows get other ids.
    """
    digest = hashlib.sha256()
    further = [part.entity_field, part.relation_field] if isinstance(part, KnowledgeBasedDataset) else []
    for field in (part.uid_field, part.iid_field, *further):
        for token in part.field2id_token[field]:
            encoded = str(token).encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        digest.update(b"|")
    return digest.hexdigest()


def with_extra_rows(part: Dataset, pairs: PairSet) -> Interaction:
    """The rows of a split followed by one row per pair.

    The added rows carry every loaded column: label 1, the time of the user's last row, the mean of the split for other
    numbers, padding for tokens and sequences. General recommenders read only the user and item of a row. A row of a
    sequence is the user's last one, with another target.
    """
    if isinstance(part, SequentialDataset):
        return _with_other_targets(part, pairs)
    extra: dict[str, torch.Tensor] = {}
    for field, values in part.inter_feat.interaction.items():
        filled = torch.zeros((len(pairs), *values.shape[1:]), dtype=values.dtype)
        if field == part.uid_field:
            filled = torch.as_tensor(pairs.users)
        elif field == part.iid_field:
            filled = torch.as_tensor(pairs.items)
        elif field == part.label_field:
            filled[:] = 1
        elif field == part.time_field:
            last = torch.full((part.user_num,), -torch.inf, dtype=values.dtype)
            last.scatter_reduce_(0, part.inter_feat[part.uid_field], values, "amax")
            filled = last[torch.as_tensor(pairs.users)]
        elif values.dtype.is_floating_point and values.ndim == 1:
            filled[:] = values.mean()
        extra[field] = filled
    return cat_interactions([part.inter_feat, Interaction(extra)])


def _with_other_targets(part: SequentialDataset, pairs: PairSet) -> Interaction:
    last = np.zeros(part.user_num, dtype=np.int64)
    users = part.inter_feat[part.uid_field].numpy()
    last[users] = np.arange(len(users))  # of several rows of a user the last stays
    places = torch.as_tensor(last[pairs.users])
    extra = {field: values[places] for field, values in part.inter_feat.interaction.items()}
    extra[part.iid_field] = torch.as_tensor(pairs.items)
    if part.label_field in extra:
        extra[part.label_field] = torch.ones_like(extra[part.label_field])
    return cat_interactions([part.inter_feat, Interaction(extra)])
