"""Sequential models in real runs: what is observed, what the losses are, and that a run is resumed exactly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ordered import SEQUENCES, walks, write_split_walks, write_walks
from recbole.data.interaction import Interaction
from tiny_runs import PLAIN, Run, as_set, observed, plain_recbole_loaders, relabelled, same_tensors, train, used_pairs

from recbole_dtlns.bridge.data.dataloader import CANDIDATES
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.pairs import canonical_train, observed_pairs, target_pairs
from recbole_dtlns.bridge.models.encoded_sequences import EncodedSequences
from recbole_dtlns.bridge.training.training_step import TrainingStep
from recbole_dtlns.errors import ConfigError, DataError, UnsupportedModelError

UNDROPPED: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "dropout_prob": 0.0}
UNDROPPED |= {"sess_dropout": 0.0, "item_dropout": 0.0, "dropout_probs": [0.0, 0.0]}
FORMS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "pairwise": {"loss_type": "BPR"},
    "sampled softmax": {"dtlns_loss": "sampled_softmax", "dtlns_loss_shared": 16},
    "gbce": {"dtlns_loss": "gbce", "dtlns_loss_shared": 16, "dtlns_sampler": "rns"},
}


@pytest.fixture
def sequences() -> dict[str, Any]:
    """Config keys of the walks, written into the test's folder."""
    return write_walks()


def run(keys: dict[str, Any], model: str = "SASRec", **settings: Any) -> Run:
    return train(model, keys, dataset=SEQUENCES, **settings)


def tokens(pairs: set[tuple[int, int]], part: Any) -> set[tuple[str, str]]:
    users, items = part.field2id_token[part.uid_field], part.field2id_token[part.iid_field]
    return {(str(users[user]), str(items[item])) for user, item in pairs}


# --- what is observed ---


def test_what_a_user_observed_is_the_train_sequence_and_no_target(sequences: dict[str, Any]) -> None:
    found = run(sequences, **PLAIN)
    parts = [found.data.train_loader._dataset, found.data.valid_loader._dataset, found.data.test_loader._dataset]
    before = {(f"u{user:03d}", item) for user, items in enumerate(walks()) for item in items[:-2]}
    assert tokens(as_set(observed_pairs(parts[0])), parts[0]) == before
    for part, place in zip(parts[1:], (-2, -1), strict=True):
        asked = {(f"u{user:03d}", items[place]) for user, items in enumerate(walks())}
        assert tokens(as_set(target_pairs(part)), part) == asked
    canonical = canonical_train(parts[0])
    assert canonical.times is not None and not canonical.duplicates
    users, items = canonical.histories()
    times = {
        (str(canonical.user_tokens[user]), str(canonical.item_tokens[item])): time
        for user, item, time in zip(users, items, canonical.times, strict=True)
    }
    assert times == {
        (f"u{user:03d}", item): 1000 + 10 * place
        for user, items in enumerate(walks())
        for place, item in enumerate(items[:-2])
    }


def test_of_one_time_the_files_order_is_that_of_the_sequence(sequences: dict[str, Any]) -> None:
    """The item that stands in front of all rows of its user, and is the target of none, too."""
    file = Path("data") / SEQUENCES / f"{SEQUENCES}.inter"
    header, *rows = [line.split("\t") for line in file.read_text().splitlines()]
    file.write_text("\n".join(["\t".join(header), *(f"{user}\t{item}\t1000" for user, item, _ in rows), ""]))
    canonical = canonical_train(run(sequences, **PLAIN).data.train_loader._dataset)
    users, items = canonical.histories()
    found: dict[str, dict[int, str]] = {}
    for user, item, age in zip(users, items, canonical.ages, strict=True):
        found.setdefault(str(canonical.user_tokens[user]), {})[-int(age)] = str(canonical.item_tokens[item])
    expected: dict[str, list[str]] = {}
    for user, item, _ in rows:
        expected.setdefault(user, []).append(item)
    assert {user: [row[place] for place in sorted(row)] for user, row in found.items()} == {
        user: row[:-2] for user, row in expected.items()
    }


def test_evaluation_is_that_of_plain_recbole_whatever_is_relabelled(sequences: dict[str, Any]) -> None:
    found = run(sequences, loss_type="BPR")
    assert len(relabelled(found)[0]) > 100
    loaders = plain_recbole_loaders("SASRec", SEQUENCES, {**sequences, "loss_type": "BPR"})
    for ours, theirs in zip((found.data.valid_loader, found.data.test_loader), loaders[1:], strict=True):
        assert ours._dataset.field2token_id == theirs._dataset.field2token_id
        for (mine, mask, rows, items), (plain, no_mask, *positives) in zip(ours, theirs, strict=True):
            assert mask is no_mask is None, "RecBole masks nothing where items may repeat"
            assert same_tensors(mine.interaction, plain.interaction)
            assert same_tensors([rows, items], positives)


def test_the_sampler_holds_what_was_observed_and_nothing_else(sequences: dict[str, Any]) -> None:
    found = run(sequences, loss_type="BPR")
    sampler, part = found.data.train_loader._sampler, found.train
    assert used_pairs(sampler) == observed(part), "RecBole's own knows the rows"
    forbidden = as_set(relabelled(found)[1])
    batch = next(iter(found.data.train_loader))
    drawn = {
        (user, item)
        for user, row in zip(batch["user_id"].tolist(), batch[CANDIDATES].tolist(), strict=True)
        for item in row
    }
    assert drawn.isdisjoint(as_set(observed_pairs(part)) | forbidden)


@pytest.mark.parametrize("longest", [5, 20], ids=["cut", "whole"])
def test_sequences_that_are_split_in_advance_are_observed_as_far_as_their_train_rows_go(longest: int) -> None:
    keys = {**write_split_walks(), "MAX_ITEM_LIST_LENGTH": longest}
    found = run(keys, loss_type="BPR", dtlns_sampler="dns")
    parts = [found.data.train_loader._dataset, found.data.valid_loader._dataset, found.data.test_loader._dataset]
    before = {(f"u{user:03d}", item) for user, items in enumerate(walks()) for item in items[:-2]}
    assert tokens(as_set(observed_pairs(parts[0])), parts[0]) == before
    for part, place in zip(parts[1:], (-2, -1), strict=True):
        asked = {(f"u{user:03d}", items[place]) for user, items in enumerate(walks())}
        assert tokens(as_set(target_pairs(part)), part) == asked
        read = {
            str(part.id2token("user_id", user)): [str(item) for item in part.id2token("item_id", row[:length])]
            for user, row, length in zip(
                *(part.inter_feat[name].numpy() for name in ("user_id", "item_id_list", "item_length")), strict=True
            )
        }
        assert read == {f"u{user:03d}": items[:place][-longest:] for user, items in enumerate(walks())}


def artefact_files(cache: str) -> dict[str, bytes]:
    files = [file for file in sorted(Path(cache).rglob("*")) if file.is_file() and file.suffix != ".lock"]
    return {str(file.relative_to(cache)): file.read_bytes() for file in files}


@pytest.mark.parametrize("form", ["softmax", "gbce"])
def test_artefacts_are_byte_identical_when_every_target_is_changed(form: str) -> None:
    """The last two items of every sequence are other ones, some of them new, at other times."""
    changed = [
        [*items[:-2], f"new-{place % 3}", walks()[place - 1][-1]] if place else [*items[:-2], "new-9", items[0]]
        for place, items in enumerate(walks())
    ]
    for name, given in (("first", walks()), ("second", changed)):
        keys = write_walks(name, given)
        found = run(keys, **FORMS[form], dtlns_judge="calibrated", dtlns_cache_dir=f"cache-{name}")
        assert found.preparation is not None
    files = artefact_files("cache-first")
    assert {Path(name).parent.name for name in files} >= {"teacher", "verdicts", "relabelling"}
    assert files == artefact_files("cache-second")


# --- the losses ---


def judged(found: Run) -> tuple[dict[int, dict[int, float]], set[tuple[int, int]]]:
    """Weights of the pseudo-positives of every user, and the forbidden pairs."""
    assert found.preparation is not None
    positives = to_recbole_ids(found.preparation.positives, found.preparation.train, found.train)
    forbidden = relabelled(found)[1]
    weights: dict[int, dict[int, float]] = {}
    for user, item, weight in zip(positives.users, positives.items, positives.weight, strict=True):
        weights.setdefault(int(user), {})[int(item)] = float(weight)
    return weights, as_set(forbidden)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "CORE"])
@pytest.mark.parametrize("add", [True, False])
def test_the_softmax_lacks_the_forbidden_and_has_further_targets(
    model: str, add: bool, sequences: dict[str, Any]
) -> None:
    settings = {**UNDROPPED, "dtlns_relabel_weight": 0.7, "dtlns_relabel_decay": 1.0, "dtlns_relabel_top": 2}
    found = run(sequences, model, **settings, dtlns_relabel_add=add)
    weights, forbidden = judged(found)
    trainer, loader = found.trainer, found.data.train_loader
    batch = next(iter(loader))
    with torch.no_grad():
        step = trainer._step(loader, trainer.model.train().calculate_loss)
        loss = step(Interaction(dict(batch.interaction)))
        table = trainer.model.full_sort_predict(batch).double().view(len(batch), -1)
    expected = 0.0
    for row, (user, target) in enumerate(zip(batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True)):
        wanted = {target: 1.0, **(weights.get(user, {}) if add else {})}
        kept = [
            item for item in range(table.shape[1]) if item not in wanted and (user, item) not in forbidden
        ]  # the padding item among them, as in RecBole's softmax
        others = table[row, kept].exp().sum()
        expected += sum(weight * float((1 + others / table[row, item].exp()).log()) for item, weight in wanted.items())
    assert float(loss) == pytest.approx(expected / len(batch), rel=1e-4)
    assert forbidden


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "HGN", "NPE", "NextItNet"])
def test_a_sampled_softmax_nears_the_full_one(model: str, sequences: dict[str, Any]) -> None:
    """40,000 draws of 24 items; with the same weights, and the same further targets. The padding item is not drawn."""
    fixed = {**UNDROPPED, "reg_weight": [0.0, 0.0] if model == "HGN" else 0.0, "epochs": 0}
    settings = {"dtlns_relabel_top": 2, "dtlns_sampler": "rns", "dtlns_loss": "sampled_softmax"}
    found = run(sequences, model, **fixed, **settings, dtlns_loss_shared=40_000)
    trainer, loader = found.trainer, found.data.train_loader
    weights, forbidden = judged(found)
    with torch.no_grad():
        batch = next(iter(loader))
        step = trainer._step(loader, trainer.model.train().calculate_loss)
        loss = float(step(Interaction(dict(batch.interaction))))
        table = trainer.model.full_sort_predict(batch).double().view(len(batch), -1)
    expected = 0.0
    for row, (user, target) in enumerate(zip(batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True)):
        wanted = {target: 1.0, **weights.get(user, {})}
        kept = [item for item in range(1, 25) if item not in wanted and (user, item) not in forbidden]
        others = table[row, kept].exp().sum()
        expected += sum(weight * float((1 + others / table[row, item].exp()).log()) for item, weight in wanted.items())
    assert loss == pytest.approx(expected / len(batch), rel=0.02)


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce"])
def test_a_sampler_that_chooses_adds_a_hard_negative_to_the_shared_ones(loss: str, sequences: dict[str, Any]) -> None:
    settings = {"dtlns_loss": loss, "dtlns_loss_shared": 8, **UNDROPPED}
    alone, beside = (run(sequences, **settings, dtlns_sampler=name) for name in ("rns", "dns"))
    assert alone.trainer.train_loss_dict[0] < beside.trainer.train_loss_dict[0]


# --- choosing negatives ---


@pytest.mark.parametrize("sampler", ["rns", "popularity", "dns", "dns_mn", "ahns", "srns", "dtlns"])
def test_every_sampler_by_id_trains(sampler: str, sequences: dict[str, Any]) -> None:
    settings = {"dtlns_n_candidates": 4, "dtlns_dns_top": 2, "dtlns_srns_memory": 2}
    found = run(sequences, loss_type="BPR", epochs=2, dtlns_sampler=sampler, **settings)
    assert np.isfinite(list(found.trainer.train_loss_dict.values())).all()
    assert all(0 <= value <= 1 for value in found.result["test_result"].values())


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "FPMC", "TransRec", "NARM"])
def test_the_hardest_candidate_is_chosen_by_the_models_own_scores(model: str, sequences: dict[str, Any]) -> None:
    settings = {"loss_type": "BPR", "dtlns_sampler": "dns", "dtlns_n_candidates": 6, **UNDROPPED}
    found = run(sequences, model, **settings)
    trainer, loader = found.trainer, found.data.train_loader
    batch, network = next(iter(loader)), trainer.model.train()
    candidates = batch[CANDIDATES]
    with torch.no_grad():
        table = network.full_sort_predict(batch).view(len(batch), -1)
    expected = candidates.gather(1, table.gather(1, candidates).argmax(dim=1)[:, None]).squeeze(1)
    seen: list[torch.Tensor] = []

    def watched(interaction: Interaction) -> torch.Tensor:
        seen.append(interaction["neg_item_id"])
        return network.calculate_loss(interaction)

    TrainingStep(network, loader, trainer.sampling, watched)(batch)
    assert torch.equal(seen[0], expected)


@pytest.mark.parametrize(("form", "expected"), [("pairwise", 1), ("sampled softmax", 1), ("softmax", 1)])
def test_a_sequence_is_encoded_once_in_a_step(form: str, expected: int, sequences: dict[str, Any]) -> None:
    """Scoring ten candidates takes none of its own; the gradient reaches what was encoded for scores."""
    found = run(sequences, **FORMS[form], dtlns_n_candidates=10)
    trainer, loader = found.trainer, found.data.train_loader
    network, calls = trainer.model.train(), Counter[str]()
    network.trm_encoder.register_forward_hook(lambda *_: calls.update(["encoder"]))
    network.zero_grad()
    loss = trainer._step(loader, network.calculate_loss)(next(iter(loader)))
    loss.backward()
    assert calls["encoder"] == expected
    assert network.position_embedding.weight.grad.any()


class Encodes(torch.nn.Module):
    """Counts, and returns something new every time."""

    calls = 0

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return sequence * self.calls


def test_the_loss_takes_what_was_encoded_once_and_encodes_anew_after_that() -> None:
    """Some models encode the same sequences again, for another dropout."""
    model, sequence = Encodes(), torch.ones(2)
    encoded = EncodedSequences(model)
    with encoded.of_a_batch():
        with encoded.scoring():
            assert [model(sequence)[0].item() for _ in range(3)] == [1, 1, 1]
        assert [model(sequence)[0].item() for _ in range(3)] == [1, 2, 3]
        assert encoded.latest is not None and encoded.latest[0] == 1
    assert (encoded.latest, model(sequence)[0].item()) == (None, 4)


# --- resuming ---


@pytest.mark.parametrize("form", FORMS)
def test_two_and_two_epochs_equal_four(form: str, sequences: dict[str, Any]) -> None:
    settings = {**sequences, **FORMS[form]}
    first = run(settings, epochs=2)
    second = run(settings, epochs=4, resume_from=str(first.folder))
    whole = run(settings, epochs=4)
    assert second.result["test_result"] == whole.result["test_result"]
    after, expected = (torch.load(one.folder / "last.pth", weights_only=True) for one in (second, whole))
    for part in ("epoch", "state_dict", "optimizers", "random", "loader", "best_valid_result"):
        assert same_tensors(after[part], expected[part]), part


def test_other_validation_targets_are_another_run(sequences: dict[str, Any]) -> None:
    first = run(sequences)
    changed = write_walks("changed", [[*items[:-2], items[-1], items[-2]] for items in walks()])
    with pytest.raises(Exception, match=r"set of validation pairs|numbering of users and items"):
        run(changed, epochs=2, resume_from=str(first.folder))


# --- refusals ---


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"dtlns_sampler": "dns"},
            UnsupportedModelError,
            "nothing to choose: set dtlns_sampler: recbole, or loss_type",
        ),
        ({"loss_type": "CE", "dtlns_loss": "gbce"}, UnsupportedModelError, "leave loss_type: CE out"),
        ({"dtlns_preset": "authors"}, UnsupportedModelError, "RecBole masks nothing for sequential models"),
        ({"dtlns_hide_train": 0.1}, UnsupportedModelError, "would still meet them in its sequences"),
        (
            {"loss_type": "BPR", "dtlns_sampler": "mixgcf"},
            UnsupportedModelError,
            "makes vectors of sequences, and none",
        ),
        ({"dtlns_loss": "listwise"}, UnsupportedModelError, "ranks all items by products of vectors"),
        ({"loss_type": "BPR", "dtlns_relabel_graph": True}, UnsupportedModelError, "dtlns_relabel_graph has no effect"),
        (
            {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}}},
            ConfigError,
            "eval_args.order is RO, and sequences are cut",
        ),
        ({"repeatable": False}, ConfigError, "repeatable: False is not for sequential models"),
        (
            {"train_neg_sample_args": {"sample_num": 2}},
            ConfigError,
            "leave train_neg_sample_args out, or set loss_type",
        ),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, DataError, r"leaves out: set load_col to .*timestamp"),
        ({"TIME_FIELD": "when"}, DataError, "has no field when; it has user_id:token, item_id:token, timestamp:float"),
        ({"TIME_FIELD": "item_id"}, DataError, "item_id is of the type token"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    settings: dict[str, Any], error: type[Exception], message: str, sequences: dict[str, Any]
) -> None:
    with pytest.raises(error, match=message):
        run({**sequences, **settings})
    assert not Path("cache").exists() and not Path("saved").exists()


def test_rows_without_a_time_are_refused(sequences: dict[str, Any]) -> None:
    """RecBole gives them the mean time of all rows, those of validation and test among them."""
    file = Path("data") / SEQUENCES / f"{SEQUENCES}.inter"
    file.write_text(file.read_text() + "u000\ti00\t\n")
    with pytest.raises(DataError, match="1 rows of 'walks' have no timestamp"):
        run(sequences)


def test_a_sequential_model_is_no_teacher(sequences: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"GRU4Rec is no teacher.*a sequential recommender"):
        run(sequences, dtlns_teacher="GRU4Rec")


def test_features_that_a_model_reads_must_be_there(sequences: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"SASRecF reads class of items \(selected_features\), and .*walks.item does"):
        run(sequences, "SASRecF")
    (Path("data") / SEQUENCES / f"{SEQUENCES}.item").write_text("item_id:token\tprice:float\ni00\t1\n")
    with pytest.raises(DataError, match="has no field class, which SASRecF reads; it has item_id:token, price:float"):
        run(sequences, "SASRecF")


def test_what_the_constructor_refuses_is_an_error_of_the_settings(sequences: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"SASRec cannot be made with these settings: .*\(7\) is not a multiple"):
        run(sequences, hidden_size=7, n_heads=2)


@pytest.mark.parametrize("preset", ["clean", "off"])
def test_a_loss_that_recbole_has_not_is_refused_before_any_work(preset: str, sequences: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="SASRec has no loss_type: FOO: set it to CE or BPR"):
        run(sequences, loss_type="FOO", dtlns_preset=preset)
    assert not Path("saved").exists()
