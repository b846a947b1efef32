"""Candidates come from the pool that the settings name, and from nothing that a user has or may not get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training_step import one_epoch
from tiny_runs import PLAIN, as_set, observed, relabelled, train, used_pairs

from recbole_dtlns.bridge.data.dataloader import CANDIDATES
from recbole_dtlns.bridge.data.ids import tree_positions
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import DataError


def pairs_drawn(run: Any, epochs: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, positive and candidate of every draw."""
    drawn = [made for epoch in range(epochs) for made, _ in one_epoch(run, epoch)]
    n = drawn[0][CANDIDATES].shape[1]
    users, positives = (torch.cat([made[field] for made in drawn]) for field in ("user_id", "item_id"))
    candidates = torch.cat([made[CANDIDATES] for made in drawn])
    return users.repeat_interleave(n).numpy(), positives.repeat_interleave(n).numpy(), candidates.flatten().numpy()


def write_pool(run: Any, file: Path) -> set[tuple[int, int]]:
    """Every third item of the catalogue for the first ten users, by token, observed ones among them."""
    dataset = run.train
    listed = {(user, item) for user in range(1, 11) for item in range(1, dataset.item_num, 3)}
    lines = [f"{dataset.id2token('user_id', user)}\t{dataset.id2token('item_id', item)}" for user, item in listed]
    file.write_text("\n".join(["user_id\titem_id", *lines]) + "\n")
    return listed


@pytest.mark.parametrize("pool", ["uniform", "popularity", "tree", "file"])
def test_no_pool_gives_what_is_blocked_and_none_reaches_the_mask(
    pool: str, tiny: dict[str, Any], tmp_path: Path
) -> None:
    plain = train("BPR", {**tiny, **PLAIN})
    keys = {"dtlns_pool": pool}
    if pool == "file":
        write_pool(plain, tmp_path / "pool.tsv")
        keys["dtlns_pool_file"] = str(tmp_path / "pool.tsv")
    run = train("BPR", tiny, **keys)
    users, _, candidates = pairs_drawn(run, 1)
    assert as_set(PairSet(users, candidates)).isdisjoint(observed(run.train) | as_set(relabelled(run)[1]))
    for ours, theirs in (
        (run.data.valid_loader, plain.data.valid_loader),
        (run.data.test_loader, plain.data.test_loader),
    ):
        assert used_pairs(ours._sampler) == used_pairs(theirs._sampler)


def test_listed_users_get_listed_items_and_others_any(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = train("BPR", {**tiny, **PLAIN})
    listed = write_pool(plain, tmp_path / "pool.tsv")
    run = train("BPR", tiny, dtlns_pool="file", dtlns_pool_file=str(tmp_path / "pool.tsv"))
    users, _, candidates = pairs_drawn(run)
    blocked = observed(run.train) | as_set(relabelled(run)[1])
    free = {user: {item for owner, item in listed - blocked if owner == user} for user in range(1, 11)}
    assert all(free.values())
    for user, items in free.items():
        assert set(candidates[users == user].tolist()) == items
    assert len(set(candidates[users == 11].tolist())) > 20


def test_a_pool_file_of_other_data_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "pool.tsv").write_text("user_id\titem_id\nnobody\tnothing\n")
    with pytest.raises(DataError, match=r"none of the 1 rows of .*pool.tsv names a user and an item of the train data"):
        train("BPR", tiny, dtlns_pool="file", dtlns_pool_file=str(tmp_path / "pool.tsv"))


def test_popular_items_are_drawn_more_often(tiny: dict[str, Any]) -> None:
    """By train counts: the correlation of how often an item is drawn with how popular it is."""
    correlation = []
    for power in (0.0, 1.0):
        run = train("BPR", tiny, dtlns_sampler="popularity", dtlns_pool_power=power, dtlns_relabel_exclude=False)
        items = run.train.inter_feat["item_id"].numpy()
        popularity = np.bincount(items, minlength=run.train.item_num)[1:]
        drawn = np.bincount(pairs_drawn(run, 30)[2], minlength=run.train.item_num)[1:]
        correlation.append(np.corrcoef(popularity, drawn)[0, 1])
    assert correlation[1] > 0.3 > correlation[0]


def test_the_tree_pool_draws_near_the_positive(tiny: dict[str, Any]) -> None:
    """The stated share of the candidates shares the stated number of codes, more than uniform ones do."""
    near = {}
    for pool in ("uniform", "tree"):
        run = train("BPR", tiny, dtlns_pool=pool, dtlns_pool_tree="structure", dtlns_pool_depths=[1])
        _, positives, candidates = pairs_drawn(run)
        assert run.preparation is not None
        position = tree_positions(run.preparation.train, run.train)
        code = run.preparation.structure.digits[position, 0]
        near[pool] = float((code[positives] == code[candidates]).mean())
    assert near["tree"] > near["uniform"] + 0.15


def test_the_tree_pool_gives_the_tree_terms_more_to_change(tiny: dict[str, Any]) -> None:
    """The share of choices that the terms change, as the log of a run says it."""
    share = {}
    for pool in ("uniform", "tree"):
        run = train("BPR", tiny, dtlns_pool=pool, dtlns_pool_depths=[1, 2], learning_rate=0.05)
        one_epoch(run, 1)
        share[pool] = run.trainer.sampling.sampler.facts()["choices changed by the trees"]
    assert share["tree"] > share["uniform"]
