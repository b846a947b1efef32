"""Models of features and labels in real runs: what is drawn, what is learnt, what is masked, and what is refused."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ordered import SEQUENCES, walks, write_walks
from rated import BY_LABEL, RANKED, RATED, Rows, parts_of, ratings, write_rated
from recbole.data.interaction import Interaction
from tiny_runs import (
    PLAIN,
    Run,
    as_set,
    observed,
    per_user,
    plain_recbole_loaders,
    relabelled,
    same_tensors,
    train,
    used_pairs,
)

from recbole_dtlns import load_run
from recbole_dtlns.bridge.data.dataloader import CANDIDATES, WEIGHT
from recbole_dtlns.bridge.data.pairs import canonical_train
from recbole_dtlns.bridge.models.scoring import Scorer
from recbole_dtlns.bridge.serving.explain import Explainer
from recbole_dtlns.bridge.training.training_step import TrainingStep
from recbole_dtlns.errors import ConfigError, DataError, UnsupportedModelError

UNDROPPED = {"dropout_prob": 0.0}


def run(keys: dict[str, Any], model: str = "DeepFM", **settings: Any) -> Run:
    return train(model, keys, dataset=RATED, **settings)


def rows_by_token(found: Run, batch: Interaction, rows: torch.Tensor | slice = slice(None)) -> list[tuple[str, str]]:
    part = found.train
    columns = (part.field2id_token[name][batch[name][rows].numpy()].tolist() for name in ("user_id", "item_id"))
    return list(zip(*columns, strict=True))


def train_ratings() -> Rows:
    return parts_of(ratings())[0]


def liked_by_row() -> dict[tuple[str, str], bool]:
    return {(user, item): rating >= 4 for user, item, rating in train_ratings()}


# --- labels ---


@pytest.mark.parametrize("n_negatives", [1, 2])
def test_rows_keep_their_labels_and_negatives_are_drawn_for_what_is_liked(n_negatives: int) -> None:
    found = run(write_rated(), dtlns_relabel_add=False, train_neg_sample_args={"sample_num": n_negatives})
    known, seen, negatives = liked_by_row(), [], []
    for batch in found.data.train_loader:
        drawn = batch[CANDIDATES][:, 0] > 0
        given, labels = rows_by_token(found, batch, ~drawn), batch["label"][~drawn].tolist()
        assert labels == [float(known[pair]) for pair in given]
        liked = [pair for pair, label in zip(given, labels, strict=True) if label]
        users = [user for user, _ in liked] * n_negatives
        assert [user for user, _ in rows_by_token(found, batch, drawn)] == users
        assert not batch["label"][drawn].any()
        seen += given
        negatives += rows_by_token(found, batch, drawn)
    assert sorted(seen) == sorted(known)
    assert len(negatives) == n_negatives * sum(known.values())
    assert not known.keys() & set(negatives), "what is labelled 0 is no unlabelled pair"


def test_a_batch_in_which_nobody_likes_anything_has_no_negatives() -> None:
    found = run(write_rated(), dtlns_relabel_add=False)
    loader, trainer = found.data.train_loader, found.trainer
    disliked = np.flatnonzero(loader._rows["label"].numpy() == 0)[:3]
    batch = loader.collate_fn(disliked)
    assert len(batch) == 3
    assert not batch[CANDIDATES].any()
    step = TrainingStep(trainer.model.train(), loader, trainer.sampling, trainer.model.calculate_loss)
    assert torch.isfinite(step(batch))


def test_what_is_labelled_0_is_nobodys_positive_and_no_candidate() -> None:
    found = run(write_rated())
    known = liked_by_row()
    canonical = canonical_train(found.train)
    users, items = canonical.histories()
    liked = {pair for pair, wanted in known.items() if wanted}
    assert set(zip(canonical.user_tokens[users], canonical.item_tokens[items], strict=True)) == liked
    assert canonical.disliked is not None
    rows, columns = canonical.disliked.nonzero()
    disliked = set(zip(canonical.user_tokens[rows], canonical.item_tokens[columns], strict=True))
    assert disliked == known.keys() - liked
    assert found.preparation is not None
    candidates = found.preparation.candidates
    asked = set(
        zip(
            canonical.user_tokens[candidates.users].tolist(),
            canonical.item_tokens[candidates.items].tolist(),
            strict=True,
        )
    )
    assert asked and not asked & known.keys()
    assert as_set(relabelled(found)[0]).isdisjoint(observed(found.train))


def test_another_label_is_another_preparation() -> None:
    first = canonical_train(run(write_rated("first"), **PLAIN).train)
    rows = train_ratings()
    place = next(place for place, row in enumerate(rows) if row[2] < 4)
    rows[place] = (*rows[place][:2], 5)
    second = canonical_train(run(write_rated("second", [rows, *parts_of(ratings())[1:]]), **PLAIN).train)
    assert first.fingerprint != second.fingerprint


def test_the_sampler_holds_all_rows_and_evaluation_masks_them_as_recbole_does() -> None:
    keys = {**write_rated(features=False), **RANKED, "train_neg_sample_args": {"sample_num": 1}}
    found = run(keys)
    assert len(relabelled(found)[0]) > 50
    assert used_pairs(found.data.train_loader._sampler) == observed(found.train)
    _, *plain = plain_recbole_loaders("DeepFM", RATED, keys)
    for ours, theirs in zip((found.data.valid_loader, found.data.test_loader), plain, strict=True):
        assert per_user(ours.uid2history_item) == per_user(theirs.uid2history_item)
        assert per_user(ours.uid2positive_item) == per_user(theirs.uid2positive_item)


def artefact_files(cache: str) -> dict[str, bytes]:
    files = [file for file in sorted(Path(cache).rglob("*")) if file.is_file() and file.suffix != ".lock"]
    return {str(file.relative_to(cache)): file.read_bytes() for file in files}


def test_artefacts_are_byte_identical_when_every_target_is_changed() -> None:
    first = parts_of(ratings())
    others = [
        [(user, f"i{5 - int(item[1]) - 2}-{item[-2:]}", 6 - rating) for user, item, rating in part]
        for part in first[1:]
    ]
    for name, parts in (("first", first), ("second", [first[0], *others])):
        found = run(write_rated(name, parts), dtlns_judge="calibrated", dtlns_cache_dir=f"cache-{name}")
        assert found.preparation is not None
    files = artefact_files("cache-first")
    assert {Path(name).parent.name for name in files} >= {"teacher", "verdicts", "relabelling"}
    assert files == artefact_files("cache-second")


def test_added_rows_are_weighed_in_the_cross_entropy() -> None:
    found = run(write_rated(), **UNDROPPED, dtlns_relabel_weight=0.25)
    loader, network = found.data.train_loader, found.trainer.model.eval()
    n_rows = len(loader._rows)
    batch = loader.collate_fn(np.r_[0:40, n_rows - 5 : n_rows])
    weights = batch[WEIGHT].clone()
    assert sorted(set(weights.tolist())) == [0.25, 1.0]
    chosen: list[Interaction] = []

    def watched(interaction: Interaction) -> torch.Tensor:
        chosen.append(Interaction(dict(interaction.interaction)))
        return network.calculate_loss(interaction)

    with torch.no_grad():
        loss = TrainingStep(network, loader, found.trainer.sampling, watched)(batch)
        probability = network.predict(chosen[0]).double()
    labels = chosen[0]["label"]
    losses = -torch.where(labels > 0, probability, 1 - probability).log()
    assert float(loss) == pytest.approx(float((weights * losses).mean()), rel=1e-4)


@pytest.mark.parametrize("model", ["DIN", "DIEN"])
def test_labelled_rows_of_sequences_keep_their_labels(model: str) -> None:
    """What stands before a row is the user's, liked or not; what is liked counts where likes are asked for."""
    keys = {**write_walks(rated=True), "threshold": {"rating": 4}, "valid_metric": "AUC"}
    found = train(model, keys, dataset=SEQUENCES, dtlns_relabel_add=False)
    part = found.train
    kinds = Counter[tuple[bool, float]]()
    for batch in found.data.train_loader:
        drawn = (batch[CANDIDATES][:, 0] > 0).tolist()
        numbers = [int(item[1:]) for item in part.field2id_token["item_id"][batch["item_id"].numpy()]]
        expected = [float(not one and number % 2 == 0) for one, number in zip(drawn, numbers, strict=True)]
        assert batch["label"].tolist() == expected
        kinds.update(zip(drawn, expected, strict=True))
    assert kinds[True, 0.0] == kinds[False, 1.0] > 0 < kinds[False, 0.0]
    canonical = canonical_train(part)
    before = {(f"u{user:03d}", item) for user, items in enumerate(walks()) for item in items[:-2]}
    users, items = canonical.histories()
    liked = set(zip(canonical.user_tokens[users], canonical.item_tokens[items], strict=True))
    assert liked == {(user, item) for user, item in before if int(item[1:]) % 2 == 0}


# --- features ---


def features_of_items() -> dict[str, tuple[list[str], str]]:
    lines = (Path("data") / RATED / f"{RATED}.item").read_text().splitlines()[1:]
    return {item: (kinds.split(), year) for item, kinds, year, _ in (line.split("\t") for line in lines)}


def test_negatives_bring_the_features_of_their_items() -> None:
    """As the .item and the .user file have them, read here."""
    found = run(write_rated(), dtlns_sampler="dns")
    loader, trainer, part = found.data.train_loader, found.trainer, found.train
    seen: list[Interaction] = []

    def watched(interaction: Interaction) -> torch.Tensor:
        seen.append(interaction)
        return trainer.model.calculate_loss(interaction)

    batch = next(iter(loader))
    drawn = batch[CANDIDATES].clone()
    TrainingStep(trainer.model.train(), loader, trainer.sampling, watched)(batch)
    (rows,), files = seen, features_of_items()
    assert (rows["item_id"] != drawn[:, 0])[drawn[:, 0] > 0].any(), "another than the first drawn was chosen"
    for place, (user, item) in enumerate(rows_by_token(found, rows)):
        kinds = [part.id2token("class", int(kind)) for kind in rows["class"][place] if kind]
        assert (kinds, part.id2token("year", int(rows["year"][place]))) == files[item]
        assert part.id2token("town", int(rows["town"][place])) == f"town-{user[1]}"


@pytest.mark.parametrize("model", ["DeepFM", "DSSM", "FFM", "AutoInt"])
def test_scores_of_candidates_are_what_the_model_predicts(model: str) -> None:
    """One pair at a time, joined by RecBole."""
    found = run(write_rated(), model, numerical_features=["price"])
    loader, network, part = found.data.train_loader, found.trainer.model.eval(), found.train
    rows = loader.collate_fn(np.arange(6))
    candidates = torch.randint(1, part.item_num, (len(rows), 4), generator=torch.Generator().manual_seed(0))
    scores = Scorer(network, loader).scores(rows, candidates)
    with torch.no_grad():
        expected = [
            float(network.predict(part.join(Interaction({"user_id": user[None], "item_id": item[None]}))))
            for user, items in zip(rows["user_id"], candidates, strict=True)
            for item in items
        ]
    assert scores.reshape(-1).tolist() == pytest.approx(expected, abs=1e-6)


def test_candidates_are_scored_in_one_pass() -> None:
    found = run(write_rated(), dtlns_sampler="dns", dtlns_n_candidates=7, dtlns_relabel_add=False)
    loader, trainer = found.data.train_loader, found.trainer
    sizes: list[int] = []
    trainer.model.mlp_layers.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    batch = next(iter(loader))
    n_rows, n_negatives = len(batch), int((batch[CANDIDATES][:, 0] > 0).sum())
    TrainingStep(trainer.model.train(), loader, trainer.sampling, trainer.model.calculate_loss)(batch)
    assert sizes == [7 * n_negatives, n_rows]


def test_candidates_are_scored_for_the_row_with_its_own_features() -> None:
    """A device of the row, as RecBole's own dynamic negatives have it."""
    keys = write_rated()
    for part in ("train", "valid", "test"):
        file = Path("data") / RATED / f"{RATED}.{part}.inter"
        head, *lines = file.read_text().splitlines()
        devices = [f"{line}\t{('phone', 'desk')[place % 2]}" for place, line in enumerate(lines)]
        file.write_text("\n".join([f"{head}\tdevice:token", *devices, ""]))
    keys["load_col"] = {**keys["load_col"], "inter": ["user_id", "item_id", "rating", "device"]}
    found = run(keys, "FM")
    loader, network, part = found.data.train_loader, found.trainer.model.eval(), found.train
    rows = loader.collate_fn(np.arange(8))
    assert len(set(rows["device"].tolist())) > 1
    candidates = torch.arange(1, 4).repeat(len(rows), 1)
    scores = Scorer(network, loader).scores(rows, candidates)
    for place, (user, device) in enumerate(zip(rows["user_id"], rows["device"], strict=True)):
        asked = {"user_id": user.repeat(3), "item_id": candidates[place], "device": device.repeat(3)}
        with torch.no_grad():
            assert torch.allclose(scores[place], network.predict(part.join(Interaction(asked))), atol=1e-6)
    with pytest.raises(UnsupportedModelError, match="FM reads device of its rows, and what is asked about has no row"):
        load_run(found.folder).recommend(["u0-00"])
    with pytest.raises(DataError, match=r"FM reads device of its rows, and eval_args.mode: full .*leave these columns"):
        run({**keys, **RANKED, "threshold": None}, "FM")


# --- resuming ---


@pytest.mark.parametrize("settings", [{"dtlns_sampler": "srns", "dtlns_srns_memory": 2}, {**RANKED, "threshold": None}])
def test_two_and_two_epochs_equal_four(settings: dict[str, Any]) -> None:
    keys = {**write_rated(), **settings}
    first = run(keys, epochs=2)
    second = run(keys, epochs=4, resume_from=str(first.folder))
    whole = run(keys, epochs=4)
    assert second.result["test_result"] == whole.result["test_result"]
    after, expected = (torch.load(one.folder / "last.pth", weights_only=True) for one in (second, whole))
    for part in ("epoch", "state_dict", "optimizers", "random", "loader", "past", "best_valid_result"):
        assert same_tensors(after[part], expected[part]), part


# --- use ---


@pytest.mark.parametrize("model", ["DeepFM", "DSSM"])
def test_a_run_recommends_and_explains_where_its_data_set_is_not(model: str) -> None:
    keys = {**write_rated(), "numerical_features": ["price"], "dtlns_cache_dir": "cache", "eval_batch_size": 50}
    found = run(keys, model, epochs=2)
    network, part = found.trainer.model.eval(), found.train
    shutil.rmtree("data")
    loaded = load_run(found.folder, device="cpu")
    user = part.token2id("user_id", "u1-03")
    asked = {"user_id": torch.tensor([user]).repeat(part.item_num - 1), "item_id": torch.arange(1, part.item_num)}
    with torch.no_grad():
        scores = network.predict(part.join(Interaction(asked)))
    expected = {part.id2token("item_id", place): float(score) for place, score in enumerate(scores, start=1)}
    ((_, best),) = loaded.recommend(["u1-03"], k=len(expected), exclude=None)
    assert dict(best) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UnsupportedModelError, match=f"{model} has no vectors .* it scores by features together"):
        _ = loaded.vectors
    assert found.preparation is not None
    canonical, candidates = found.preparation.train, found.preparation.candidates
    mine = canonical.user_tokens[candidates.users] == "u1-03"
    best = canonical.item_tokens[candidates.items[mine]][0]
    (reasons,) = Explainer(loaded).explain("u1-03", best).items
    assert reasons.judged is not None
    assert reasons.judged.verdict == "false negative"


# --- refusals and warnings ---


UNLABELLED = {"inter": ["user_id", "item_id"]}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"threshold": {"stars": 4}},
            DataError,
            r"makes labels of stars, .* has the columns user_id:token, .*rating:float",
        ),
        (
            {"threshold": None, "load_col": UNLABELLED},
            DataError,
            r"mode is labeled, RecBole's default for models such as FM, and no column label .*mode: full.*threshold",
        ),
        (
            {"threshold": None, "load_col": UNLABELLED, **PLAIN},
            DataError,
            r"FM learns labels, and there are none: .*train_neg_sample_args to \{sample_num: 1\}",
        ),
        (
            {"train_neg_sample_args": None},
            ConfigError,
            "train_neg_sample_args draws no negatives, so nothing can be chosen .*: leave it out",
        ),
        ({"eval_args": {"mode": "full"}}, ConfigError, "set it to labeled, or metrics to those of rankings"),
        (
            {"load_col": {"inter": ["user_id", "item_id", "rating"], "item": ["item_id", "prise"]}},
            DataError,
            r"load_col.item names prise, which .*rated.item does not have; it has item_id:token.* mean 'price'",
        ),
        (
            {"threshold": {"item_id": 4}},
            DataError,
            r"has item_id as token, and labels are numbers: .*item_id:float into the first line",
        ),
        (
            {"numerical_features": ["prise"]},
            DataError,
            r"numerical_features names prise, which is not loaded; .* the numbers price, rating.* mean 'price'",
        ),
        (
            {"numerical_features": ["class"]},
            DataError,
            r"numerical_features: class cannot be read as numbers; .*rated.item has .*class:token_seq.*of float",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    keys = write_rated()
    with pytest.raises(error, match=message):
        run({**keys, **settings}, "FM")
    assert not Path("cache").exists() and not Path("saved").exists()


def test_rows_without_the_number_that_labels_them_are_refused() -> None:
    """RecBole fills in a mean, which ratings of validation and test move over the threshold or below it."""
    train, valid, test = parts_of(ratings())
    unrated: Any = [(user, item, "" if number < 5 else rating) for number, (user, item, rating) in enumerate(train)]
    keys = write_rated(parts=[unrated, valid, test])
    with pytest.raises(DataError, match=r"^5 of 624 rows of rated have no rating, which labels them"):
        run(keys, "FM")
    assert not Path("cache").exists()
    run(keys, "FM", **PLAIN)
    for name in ("train", "valid", "test"):  # in one file, and filtered as the message says
        with Path("data/rated/rated.inter").open("a") as file:
            lines = Path(f"data/rated/rated.{name}.inter").read_text().splitlines()
            file.write("\n".join([*lines[name != "train" :], ""]))
    filtered = run({**keys, "benchmark_filename": None, "val_interval": {"rating": "(-inf,inf)"}}, "FM")
    parts = (filtered.data.train_loader, filtered.data.valid_loader, filtered.data.test_loader)
    assert sum(len(loader.dataset) for loader in parts) == 619


@pytest.mark.parametrize(("liked", "part"), [(True, "validation"), (False, "test")])
def test_an_area_under_the_curve_of_one_label_is_refused(liked: bool, part: str) -> None:
    """RecBole's is no number, found after the first epoch; the cross-entropy of such rows has a value."""
    parts, place = parts_of(ratings()), ["validation", "test"].index(part) + 1
    parts[place] = [row for row in parts[place] if (row[2] >= 4) == liked]
    keys = write_rated(parts=parts)
    with pytest.raises(DataError, match=rf"all \d+ rows of {part} are labelled {int(liked)} \(label\): set threshold"):
        run(keys)
    assert run(keys, metrics=["LogLoss"], valid_metric="LogLoss").result["test_result"]["logloss"] > 0


@pytest.mark.parametrize("key", ["load_col", "unload_col", "unused_col"])
def test_a_file_that_recbole_does_not_read_is_refused_with_the_nearest(key: str) -> None:
    """Of any model: RecBole would load nothing of it, and say nothing."""
    keys = write_rated(labelled=False)
    columns = {"intr": ["user_id", "item_id"]}
    with pytest.raises(ConfigError, match=rf"{key} names columns of a file \.intr, .*Did you mean 'inter'\?"):
        run({**keys, key: columns}, "BPR")


def test_numbers_that_a_tower_does_not_read_are_refused() -> None:
    with pytest.raises(DataError, match=r"DSSM reads the numbers that numerical_features names, .*: add price, or"):
        run(write_rated(), "DSSM")


def test_a_model_without_features_trains_and_says_what_there_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="recbole_dtlns"):
        run(write_rated(features=False), **PLAIN)
    (warning,) = [text for text in caplog.messages if "reads features, and none is loaded" in text]
    assert "rated.item has item_id:token, class:token_seq, year:token, price:float. Let load_col hold" in warning
    caplog.clear()
    run(write_rated(), **PLAIN)
    assert not any("none is loaded" in text for text in caplog.messages)


def test_what_recbole_makes_of_labels_is_said(caplog: pytest.LogCaptureFixture) -> None:
    keys = write_rated()
    with caplog.at_level(logging.INFO, logger="recbole_dtlns"):
        run(keys, train_neg_sample_args={"sample_num": 1}, **PLAIN)
        assert any("trains every row as liked, whatever its label" in text for text in caplog.messages)
        caplog.clear()
        run({**keys, **RANKED})
    low = sum(not liked for liked in liked_by_row().values())
    assert any(
        f"{low} of {len(train_ratings())} train rows are not liked (label is 0)" in text for text in caplog.messages
    )
    assert any("count as what is sought, whatever their label" in text for text in caplog.messages)
    assert not any("trains every row as liked" in text for text in caplog.messages)


def test_recbole_draws_by_default_only_where_a_sampler_chooses() -> None:
    keys = write_rated()
    assert run(keys, **PLAIN).config["train_neg_sample_args"]["distribution"] == "none"
    chosen = run(keys)
    assert chosen.config["train_neg_sample_args"] == {
        "distribution": "uniform",
        "sample_num": 1,
        "alpha": 1.0,
        "dynamic": False,
        "candidate_num": 0,
    }
    assert chosen.config["eval_args"]["mode"] == {"valid": BY_LABEL["eval_args"]["mode"], "test": "labeled"}
