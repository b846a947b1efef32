"""Training that begins with an earlier run's model: what is matched, what is new, and what must not be known."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_pairs, split_pairs
from tiny_runs import PLAIN, Run, observed, same_tensors, train, write_tiny

from recbole_dtlns import load_run
from recbole_dtlns.bridge import warm_start
from recbole_dtlns.errors import CheckpointError, ConfigError, UnsupportedModelError
from recbole_dtlns.training.checkpoint import BEST, Checkpoint

Part = tuple[np.ndarray, np.ndarray]


def of(part: Part, kept: np.ndarray) -> Part:
    return part[0][kept], part[1][kept]


def grown_parts() -> tuple[list[Part], list[Part]]:
    """The parts then and now: what was learnt is in train, in another order; the last user and item of each block are
    new, and one user and one item are gone."""
    now = list(split_pairs(*block_pairs()))
    users, items = now[0]
    order = np.random.default_rng(5).permutation(len(users))
    old = ~np.array([user.endswith("11") or item.endswith("19") for user, item in zip(users, items, strict=True)])
    then = of((users[order], items[order]), old[order])
    draw = np.arange(len(then[0])) % 10
    parts = [of(then, draw < 8), of(then, draw == 8), of(then, draw == 9)]
    parts[0] = (np.append(parts[0][0], "gone-user"), np.append(parts[0][1], "gone-item"))
    return parts, now


@pytest.fixture
def then() -> Path:
    """The run folder of the earlier run."""
    return train("BPR", write_tiny("then", grown_parts()[0]), **PLAIN, epochs=2, learning_rate=0.01).folder


def warm(then: Path, model: str = "BPR", parts: Any = None, **keys: Any) -> Run:
    return train(model, write_tiny("now", parts or grown_parts()[1]), **{**PLAIN, **keys}, init_from=str(then))


def by_token(folder: Path, name: str = BEST) -> dict[str, np.ndarray]:
    """The vectors of a run's users and items by token."""
    weights = Checkpoint.read(folder / name).state_dict
    run = load_run(folder)
    return {
        **{user: weights["user_embedding.weight"][place + 1].numpy() for place, user in enumerate(run.users)},
        **{item: weights["item_embedding.weight"][place + 1].numpy() for place, item in enumerate(run.items)},
    }


@pytest.mark.parametrize("how", ["neighbours", "random"])
def test_vectors_are_matched_by_token_and_the_others_are_new(
    how: str, then: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an epoch, the model is saved as it begins."""
    with caplog.at_level(logging.INFO):
        begun, before = by_token(warm(then, epochs=0, init_new=how).folder), by_token(then)
    both = begun.keys() & before.keys()
    assert len(both) > 100
    assert all(np.array_equal(begun[token], before[token]) for token in both)
    new = begun.keys() - before.keys()
    assert {token[-2:] for token in new} == {"11", "19"}
    fresh = by_token(train("BPR", write_tiny("fresh", grown_parts()[1]), **PLAIN, epochs=0).folder)
    assert all(np.array_equal(begun[token], fresh[token]) == (how == "random") for token in new)
    assert "user_id: 44 matched, 4 new (u" in caplog.text and "1 gone (gone-user)" in caplog.text
    assert "item_id: 76 matched, 4 new (i" in caplog.text and "1 gone (gone-item)" in caplog.text


def test_a_new_item_begins_among_those_that_its_users_have(then: Path) -> None:
    """Worked out in plain Python: the mean over its users of the mean over the known items of each."""
    run = warm(then, epochs=0)
    begun, before, data = by_token(run.folder), by_token(then), run.train
    pairs = {(data.id2token("user_id", user), data.id2token("item_id", item)) for user, item in observed(data)}
    means = []
    for user in {user for user, item in pairs if item == "i0-19"}:
        known = [before[item] for owner, item in pairs if owner == user and item in before]
        means += [np.mean(known, axis=0)] if known else []
    np.testing.assert_allclose(begun["i0-19"], np.mean(means, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["LightGCN", "NeuMF", "MultiVAE", "DMF", "FISM"])
def test_every_parameter_of_a_model_is_matched(model: str) -> None:
    """On the same data in another order, training begins where the earlier run ended: scores are equal by token."""
    _, now = grown_parts()
    shuffled = [of(part, np.random.default_rng(1).permutation(len(part[0]))) for part in now]
    then = train(model, write_tiny("then", now), **PLAIN, epochs=1).folder
    start = train(model, write_tiny("now", shuffled), **PLAIN, epochs=0, init_from=str(then)).folder
    before, begun = load_run(then), load_run(start)
    assert before.items.tolist() != begun.items.tolist()
    best = [dict(found) for run in (before, begun) for _, found in run.recommend(before.users[:3], 100, None)]
    for one, other in zip(best[:3], best[3:], strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose([one[item] for item in one], [other[item] for item in one], rtol=1e-4, atol=1e-6)


def test_the_optimizer_is_fresh(then: Path) -> None:
    run = warm(then, epochs=1)
    steps = {int(state["step"]) for state in run.trainer.optimizer.state_dict()["state"].values()}
    assert steps == {len(run.data.train_loader)}


def test_a_warm_start_that_was_interrupted_continues_to_the_same(then: Path) -> None:
    keys = {"epochs": 3, "learning_rate": 0.01}
    whole = warm(then, **keys)
    begun = train("BPR", {**whole.config.external_config_dict, "epochs": 1})
    again = train("BPR", {**whole.config.external_config_dict, "resume_from": str(begun.folder)})
    assert same_tensors(*(Checkpoint.read(run.folder / "last.pth").state_dict for run in (whole, again)))


def test_a_refit_begins_with_it_too(then: Path) -> None:
    run = warm(then, epochs=1, refit=True)
    assert run.result["refit"]["epochs"] == 1


# --- what it may know ---


def test_pairs_of_validation_or_test_that_were_learnt_are_refused(then: Path) -> None:
    """Another split of the same data: some of what was learnt is measured now."""
    for place, part in ((1, "validation"), (2, "test")):
        parts = grown_parts()[1]
        learnt = of(grown_parts()[0][0], np.arange(3))
        parts[place] = (np.append(parts[place][0], learnt[0]), np.append(parts[place][1], learnt[1]))
        parts[0] = of(parts[0], ~np.isin(np.char.add(*parts[0]), np.char.add(*learnt)))
        with pytest.raises(CheckpointError, match=rf"learnt from 3 pairs that are this run's {part} pairs \(user '"):
            warm(then, parts=parts)
        shutil.rmtree("now")


def test_test_pairs_that_chose_the_epoch_are_refused(then: Path) -> None:
    parts = grown_parts()[1]
    parts[2] = of(grown_parts()[0][1], np.arange(2))
    parts[0] = of(parts[0], ~np.isin(np.char.add(*parts[0]), np.char.add(*parts[2])))
    with pytest.raises(CheckpointError, match="epoch chosen by 2 pairs that are this run's test pairs"):
        warm(then, parts=parts)


def test_what_was_learnt_before_is_remembered(then: Path) -> None:
    """Pairs that left the data: a third run may not be measured on them, and nobody is taught by the second."""
    parts = grown_parts()[1]
    dropped = of(grown_parts()[0][0], np.arange(3))
    parts[0] = of(parts[0], ~np.isin(np.char.add(*parts[0]), np.char.add(*dropped)))
    second = warm(then, parts=parts)
    assert Checkpoint.read(second.folder / BEST).provenance.learnt_more
    measured = [*parts[:2], (np.append(parts[2][0], dropped[0]), np.append(parts[2][1], dropped[1]))]
    keys = write_tiny("third", measured)
    with pytest.raises(CheckpointError, match="learnt from 3 pairs that are this run's test pairs"):
        train("BPR", keys, **PLAIN, init_from=str(second.folder))
    taught = {"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": str(second.folder / BEST)}
    with pytest.raises(CheckpointError, match=r"began with a model \(init_from\)"):
        train("LightGCN", {**keys, "data_path": "now"}, **taught)
    user = dropped[0][0]
    assert dropped[1][0] not in load_run(second.folder).history(user), "it is no pair of the data"


def without(part: Part, others: Part) -> Part:
    return of(part, ~np.isin(np.char.add(*part), np.char.add(*others)))


def test_what_was_learnt_is_remembered_of_users_that_are_gone(then: Path) -> None:
    """A user's pairs were learnt, the second run does not know the user, and the third is measured on these pairs."""
    now = grown_parts()[1]
    gone = grown_parts()[0][0][0][0]
    second = warm(then, parts=[of(part, part[0] != gone) for part in now])
    learnt = of(grown_parts()[0][0], grown_parts()[0][0][0] == gone)
    third = [without(now[0], learnt), now[1], learnt]
    third[1] = without(third[1], learnt)
    keys = write_tiny("third", third)
    for run in (then, second.folder):
        with pytest.raises(CheckpointError, match=f"learnt from {len(learnt[0])} pairs that are this run's test pairs"):
            train("BPR", keys, **PLAIN, init_from=str(run))


def test_what_chose_an_epoch_is_remembered(then: Path) -> None:
    """Through a run in between that neither learnt these pairs nor was chosen by them."""
    now, chose = grown_parts()[1], of(grown_parts()[0][1], np.arange(2))
    between = [without(part, chose) for part in now]
    second = warm(then, parts=between)
    keys = write_tiny("third", [*between[:2], chose])
    with pytest.raises(CheckpointError, match="epoch chosen by 2 pairs that are this run's test pairs"):
        train("BPR", keys, **PLAIN, init_from=str(second.folder))


def test_a_run_goes_on_with_the_model_that_it_began_with(then: Path) -> None:
    """Left out, what that had learnt would not be checked; given where there was none, it would not be used."""
    begun = warm(then)
    keys = {key: value for key, value in begun.config.external_config_dict.items() if key != "init_from"}
    for more in ({}, {"refit": True}):
        with pytest.raises(CheckpointError, match=r"\(init_from\) than this run: give init_from as it was given then"):
            train("BPR", keys, **more, resume_from=str(begun.folder))
    alone = train("BPR", keys)
    with pytest.raises(CheckpointError, match=r"another model to begin with \(init_from\)"):
        train("BPR", keys, init_from=str(then), resume_from=str(alone.folder))


def test_a_leaking_run_is_no_start(tiny: dict[str, Any]) -> None:
    leaking = train("BPR", tiny, dtlns_preset="authors", dtlns_teacher="EASE", dtlns_relabel_graph=False)
    with pytest.raises(CheckpointError, match="leaking protocol 'authors'"):
        train("BPR", tiny, init_from=str(leaking.folder))


# --- what does not fit ---


@pytest.mark.parametrize(
    ("model", "keys", "kind", "message"),
    [
        ("LightGCN", {}, ConfigError, "holds a BPR, and this run trains LightGCN: set model to BPR"),
        ("BPR", {"embedding_size": 8}, ConfigError, "embedding_size: 16, and this run 8: set it to 16"),
        ("EASE", {}, UnsupportedModelError, "EASE is computed in one pass"),
        ("BPR", {"init_new": "zero"}, ConfigError, "init_new: .*neighbours"),
        ("BPR", {"dtlns_hide_train": 0.1}, ConfigError, "dtlns_hide_train"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    model: str, keys: dict[str, Any], kind: type[Exception], message: str, then: Path
) -> None:
    before = sorted(Path("saved").iterdir())
    with pytest.raises(kind, match=message):
        warm(then, model, **keys)
    assert sorted(Path("saved").iterdir()) == before


def test_another_shape_is_named_before_anything_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = grown_parts()[1]
    then = train("NeuMF", write_tiny("then", now), **PLAIN, mlp_hidden_size=[16, 8]).folder
    monkeypatch.setattr("recbole_dtlns.bridge.runner._guide_if_asked", None)
    with pytest.raises(ConfigError, match=r"the parameter mlp.* has the shape .* this run and .* in .*config.yaml"):
        warm(then, "NeuMF", parts=now, mlp_hidden_size=[32, 8])


def test_a_folder_that_is_no_run_or_is_damaged_is_named(then: Path) -> None:
    with pytest.raises(CheckpointError, match=r"init_from: nowhere holds no best\.pth"):
        warm(Path("nowhere"))
    with pytest.raises(CheckpointError, match=rf"is a file of a run: its parent, {then}, is the run folder"):
        warm(then / BEST)
    content = bytearray((then / BEST).read_bytes())
    content[len(content) // 2] ^= 1
    (then / BEST).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.pth is damaged"):
        warm(then)


def test_tokens_that_were_written_otherwise_are_warned_of(then: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recbole_dtlns"):
        warm(then)
        assert "no user and no item" not in caplog.text
        others = [(np.char.add("new-", users), np.char.add("new-", items)) for users, items in grown_parts()[1]]
        warm(then, parts=others)
    assert "no user and no item of this run" in caplog.text


def test_nothing_in_common_is_all_new() -> None:
    vocabulary = warm_start.Vocabulary.of(np.array(["[PAD]", "x"], dtype=object), {"[PAD]": 0, "y": 1})
    assert (vocabulary.now.tolist(), vocabulary.new.tolist(), vocabulary.gone) == ([0], [1], ["x"])
