"""A sequential run's folder recommends what follows all that is known of a user."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ordered import SAMPLE, SEQUENCES, walks, write_walks
from recbole.data.interaction import Interaction
from tiny_runs import PLAIN, Run, all_or_sample, train

from recbole_dtlns import load_run
from recbole_dtlns.bridge.models.sequential import SEQUENTIAL
from recbole_dtlns.bridge.serving.explain import Explainer
from recbole_dtlns.bridge.serving.trained_run import TrainedRun
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import DataError, UnsupportedModelError

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


def test_what_follows_a_history_that_is_given() -> None:
    """The whole sequence of a user gives what the run itself says of it; a new user needs none of its own."""
    run = load_run(train("GRU4Rec", write_walks(), dataset=SEQUENCES).folder, device="cpu")
    longer = ["i00", "unheard of", *walks()[4]]  # of which the last six are read
    given = run.following({"somebody new": longer, "u004": walks()[4][-LONGEST:], "of one": ["i03"]})
    assert given.users.tolist() == ["somebody new", "u004", "of one"]
    found = dict(given.recommend(given.users, k=5, exclude=None))
    ((_, own),) = run.recommend(["u004"], k=5, exclude=None)
    for user in ("u004", "somebody new"):
        assert [item for item, _ in found[user]] == [item for item, _ in own]
        assert [score for _, score in found[user]] == pytest.approx([score for _, score in own], abs=1e-5)
    found = dict(given.recommend(given.users, k=5))
    assert "i03" not in dict(found["of one"])
    assert run.users.tolist() != given.users.tolist() and run.recommend(["u004"], k=5).users.tolist() == ["u004"]


@pytest.mark.parametrize(
    "model", all_or_sample([name for name in SEQUENTIAL if name not in ("GRU4RecKG", "KSR", "DIN", "DIEN")], SAMPLE)
)
def test_the_table_says_who_reads_users(model: str) -> None:
    keys = {**write_walks(features=True), "n_layers": 2 if model == "FEARec" else 1, "pretrain_epochs": 1}
    few = {"epochs": 1, "save_step": 1, "reranker_CAN_NUM": "5"}
    network = train(model, {**keys, **few}, dataset=SEQUENCES, **PLAIN).trainer.model.eval()
    row = {"item_id_list": torch.tensor([[1, 2, 3, 0, 0, 0]]), "item_length": torch.tensor([3])}
    row["item_id"] = torch.tensor([0])
    row["Inverse_item_id_list"] = row["item_id_list"]

    def scores(user: int) -> torch.Tensor:
        with torch.no_grad(), quiet_recbole():
            return network.full_sort_predict(Interaction({**row, "user_id": torch.tensor([user])})).view(-1)

    assert torch.equal(scores(1), scores(2)) is not SEQUENTIAL[model].reads_users


def test_histories_that_lead_nowhere_are_refused() -> None:
    general = train("BPR", write_walks(), dataset=SEQUENCES, **PLAIN)
    with pytest.raises(UnsupportedModelError, match="BPR knows its users, and asks for no history"):
        load_run(general.folder, device="cpu").following({"u000": ["i00"]})
    caser = load_run(train("Caser", write_walks(), dataset=SEQUENCES, **PLAIN).folder, device="cpu")
    with pytest.raises(UnsupportedModelError, match=r"Caser has vectors of users beside .* 1 of 2 are new"):
        caser.following({"u000": ["i00"], "new": ["i00"]})
    with pytest.raises(DataError, match=r"1 of 2 histories \(the first: that of b\) hold no item"):
        caser.following({"a": ["i00"], "b": ["nothing"]})
    assert len(caser.following({"u000": ["i00"]}).recommend(["u000"], k=3)) == 1


def test_the_command_reads_histories_in_the_order_of_their_times() -> None:
    run = train("GRU4Rec", write_walks(), dataset=SEQUENCES)
    Path("histories.tsv").write_text("user_id\titem_id\ttimestamp\nnew\ti05\t30\nnew\ti03\t10\nnew\ti04\t20\n")
    command = ["recommend", str(run.folder), "--histories=histories.tsv", "--k=4", "--device=cpu"]
    assert main([*command, "--output=recs.parquet"]) == 0
    expected = load_run(run.folder, device="cpu").following({"new": ["i03", "i04", "i05"]}).recommend(["new"], k=4)
    pd.testing.assert_frame_equal(pd.read_parquet("recs.parquet"), expected.table())
    Path("histories.tsv").write_text("user_id\titem_id\ttimestamp\nnew\ti05\tlater\n")
    assert main([*command, "--output=others.parquet"]) == 2


@pytest.mark.parametrize("model", ["DIN", "DIEN"])
def test_a_model_of_labels_recommends_and_explains_where_its_data_set_is_not(model: str) -> None:
    """Half of what a user had is not liked: the pairs that were judged are found by the liked ones alone."""
    keys = {**write_walks(features=True, rated=True), "threshold": {"rating": 4}, "valid_metric": "AUC"}
    run = train(model, {**keys, "dtlns_cache_dir": "cache"}, dataset=SEQUENCES)
    shutil.rmtree("data")
    loaded = load_run(run.folder, device="cpu")
    ((_, best),) = loaded.recommend(["u003"], k=5)
    assert len(best) == 5
    tokens, scores = zip(*best, strict=True)
    assert np.allclose(loaded.score(["u003"] * 5, tokens), scores, atol=1e-5)
    judged_as_in(run, loaded)


@pytest.mark.parametrize("refit", [False, True])
def test_a_run_whose_judge_reads_order_is_explained(refit: bool) -> None:
    """What was judged depends on the times, which a row of a sequence has of its target alone."""
    keys = {**write_walks(), "dtlns_cache_dir": "cache", "dtlns_judge": "calibrated", "dtlns_judge_reads_order": True}
    run = train("SASRec", keys, dataset=SEQUENCES, refit=refit)
    shutil.rmtree("data")
    judged_as_in(run, load_run(run.folder, device="cpu"))


def judged_as_in(run: Run, loaded: TrainedRun) -> None:
    """The explanation of a candidate finds the verdict that training had."""
    assert run.preparation is not None
    canonical, candidates = run.preparation.train, run.preparation.candidates
    user, item = (
        str(tokens[ids[0]])
        for tokens, ids in ((canonical.user_tokens, candidates.users), (canonical.item_tokens, candidates.items))
    )
    explained = Explainer(loaded).explain(user, item)
    assert explained.items[0].judged is not None, explained.missing
    probability = run.preparation.verdicts.probability[0]
    assert explained.items[0].judged.probability == (None if np.isnan(probability) else pytest.approx(probability))
