"""A sequential run's folder recommends what follows all that is known of a user."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ordered import SEQUENCES, walks, write_walks
from recbole.data.interaction import Interaction
from tiny_runs import PLAIN, train

from recbole_dtlns import load_run
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import UnsupportedModelError

LONGEST = 6  # of a sequence, in these runs
MODELS = ["SASRec", "GRU4Rec", "BERT4Rec", "CORE", "FPMC", "FEARec", "SASRecF", "SHAN", "TransRec"]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_recommended_follows_the_whole_sequence(model: str) -> None:
    """Scores are those of the trained model for a row that is built here; the data set is gone by then."""
    keys = {**write_walks(features=True), "n_layers": 2 if model == "FEARec" else 1}
    run = train(model, keys, dataset=SEQUENCES, **PLAIN)
    shutil.rmtree("data")
    loaded = load_run(run.folder, device="cpu")
    items = {token: place for place, token in enumerate(loaded.items.tolist(), start=1)}
    assert set(loaded.items.tolist()) == {f"i{item:02d}" for item in range(24)}
    network = run.trainer.model.eval()
    for user in (0, 7):
        known = [items[item] for item in walks()[user]][-LONGEST:]
        token = f"u{user:03d}"
        row = {
            "user_id": torch.tensor([run.train.token2id("user_id", token)]),
            "item_id_list": torch.tensor([known + [0] * (LONGEST - len(known))]),
            "item_length": torch.tensor([len(known)]),
        }
        with torch.no_grad(), quiet_recbole():
            expected = network.full_sort_predict(Interaction(row)).view(-1)
        ((_, best),) = loaded.recommend([token], k=24, exclude=None)
        found = dict(best)
        order = sorted(items, key=lambda item: -float(expected[items[item]]))
        assert [item for item, _ in best][:5] == order[:5]
        assert [found[item] for item in items] == pytest.approx(expected[1:].tolist(), abs=1e-5)
        ((_, others),) = loaded.recommend([token], k=24)
        assert {item for item, _ in others}.isdisjoint(walks()[user])


def test_scores_of_pairs_are_those_of_lists() -> None:
    run = train("SASRec", write_walks(), dataset=SEQUENCES)
    loaded = load_run(run.folder, device="cpu")
    ((_, best),) = loaded.recommend(["u003"], k=3)
    tokens, scores = zip(*best, strict=True)
    assert np.allclose(loaded.score(["u003"] * 3, tokens), scores, atol=1e-5)
    with pytest.raises(UnsupportedModelError, match=r"SASRec has no vectors .*makes vectors of sequences, and none of"):
        _ = loaded.user_vectors


def test_a_user_of_one_item_is_recommended_something() -> None:
    """RecBole makes no row of it, so nothing is known of it but its name."""
    keys: dict[str, Any] = write_walks(sequences=[*walks(), ["i05"]])
    run = train("SASRec", keys, dataset=SEQUENCES)
    ((_, best),) = load_run(run.folder, device="cpu").recommend(["u060"], k=4)
    assert len(best) == 4


def test_the_folder_does_not_grow_with_the_rows() -> None:
    """A row's sequence is kept once for its user, and not for every row."""
    few, many = (
        train("SASRec", {**write_walks(name, walks(30)), "MAX_ITEM_LIST_LENGTH": longest}, dataset=SEQUENCES, **PLAIN)
        for name, longest in (("few", 5), ("many", 50))
    )
    size = [Path(run.folder, "data.safetensors").stat().st_size for run in (few, many)]
    assert size[1] - size[0] < 31 * 45 * 4 + 1000
