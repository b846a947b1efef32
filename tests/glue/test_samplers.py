"""Every sampler at item-id level trains models of every kind, and sees the scores that the model itself gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from recbole.data.interaction import Interaction
from test_training_step import one_epoch, rows
from tiny_runs import as_set, observed, relabelled, train

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.glue.dataloader import CANDIDATES
from recbole_dtlns.negatives.samplers import SAMPLERS

_COLUMNS = (lambda batch: batch["user_id"], lambda batch: batch["item_id"], lambda batch: batch[CANDIDATES][:, 0])
OTHER_DEFAULTS = {"dtlns_dns_top": 3, "dtlns_n_candidates": 6}


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "LightGCN", "NGCF", "DMF", "SimpleX", "SGL"])
@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_every_sampler_trains_every_kind_of_model(sampler: str, model: str, tiny: dict[str, Any]) -> None:
    run = train(model, tiny, dtlns_sampler=sampler, **OTHER_DEFAULTS)
    assert math.isfinite(run.result["test_result"]["recall@10"])
    blocked = observed(run.train) | as_set(relabelled(run)[1])
    for made, batch in one_epoch(run):
        users, _, negatives = rows(run, batch)
        assert as_set(type(relabelled(run)[0])(users.numpy(), negatives.numpy())).isdisjoint(blocked)
        assert (negatives > 0).all()
        assert made[CANDIDATES].shape[1] == (1 if sampler == "rns" else 6)


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "LightGCN"])
def test_ahns_sees_the_models_scores_of_candidates_and_positives(model: str, tiny: dict[str, Any]) -> None:
    """The negative is the candidate nearest to the target, by the model's own predictions, pairwise and pointwise."""
    run = train(model, tiny, dtlns_sampler="ahns", dtlns_ahns_beta=0.5, dtlns_n_candidates=6, learning_rate=0.05)
    network = run.trainer.model.eval()
    made, batch = next(iter(one_epoch(run)))
    users, positives, negatives = rows(run, batch)
    candidates = made[CANDIDATES][-len(users) :]

    def scores(items: torch.Tensor) -> torch.Tensor:
        return network.predict(Interaction({"user_id": users, "item_id": items})).detach()

    target = 0.5 / (scores(positives) + 1.0).clamp_min(0.05)
    distance = torch.stack([(scores(column) - target).abs() for column in candidates.T], dim=1)
    found = (scores(negatives) - target).abs()
    assert torch.allclose(found, distance.amin(dim=1), atol=1e-4)
    assert (distance.amax(dim=1) - distance.amin(dim=1)).max() > 1e-3, "the choice makes a difference"


def test_rns_is_the_first_candidate_of_every_other_sampler(tiny: dict[str, Any]) -> None:
    """One draw or ten, the first is the same: samplers are compared on the same random numbers."""
    runs = (train("BPR", tiny, dtlns_sampler=name, **OTHER_DEFAULTS) for name in ("rns", "dns"))
    first: list[dict[tuple[int, int], int]] = []
    for run in runs:
        made = [batch for batch, _ in one_epoch(run, 3)]
        users, items, drawn = (torch.cat([columns(batch) for batch in made]).tolist() for columns in _COLUMNS)
        first.append(dict(zip(zip(users, items, strict=True), drawn, strict=True)))
    assert len(first[0]) > 500 and first[0] == first[1]


def test_more_of_the_hardest_than_candidates_is_refused(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"dtlns_dns_top \(20\) must not exceed dtlns_n_candidates \(10\)"):
        train("BPR", tiny, dtlns_sampler="dns_mn", dtlns_dns_top=20)
