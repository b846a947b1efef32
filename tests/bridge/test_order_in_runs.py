"""Teachers and judges that know order, in runs: they see train's order alone, and are refused where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_interactions, block_pairs
from test_protocol_rule import artefact_files
from tiny_runs import train

from recbole_dtlns import audit_judges
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.errors import DataError
from recbole_dtlns.preparation import prepare
from recbole_dtlns.settings.settings import DTLNSSettings

ORDER: dict[str, Any] = {
    "dtlns_teachers": ["TransitionRidge", "MarkovChain", "ItemKNN"],
    "dtlns_judge": "calibrated",
    "dtlns_judge_reads_order": True,
    "dtlns_structure_graph": "transitions",
    "dtlns_judge_hide": 0.2,
}
LAST_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
Rows = list[tuple[str, str, int]]


def rows() -> Rows:
    """The block pairs, every user's in an order of its own."""
    users, items = block_pairs()
    times = np.random.default_rng(0).permutation(len(users))
    return list(zip(users.tolist(), items.tolist(), times.tolist(), strict=True))


def write(folder: str, found: Rows, name: str = "tiny.inter") -> None:
    path = Path(folder) / "tiny" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{user}\t{item}\t{time}\n" for user, item, time in found)
    path.write_text(f"user_id:token\titem_id:token\ttimestamp:float\n{lines}")


def keys(folder: str, **further: Any) -> dict[str, Any]:
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    return {"data_path": folder, "load_col": columns, "eval_args": LAST_OUT, **further}


def with_other_targets(found: Rows) -> Rows:
    """The same train rows where everybody's last two items are others that the user does not have."""
    last = {user: sorted(time for owner, _, time in found if owner == user)[-2:] for user, _, _ in found}
    held = {user: [item for owner, item, _ in found if owner == user] for user in last}
    others = {user: sorted({item for _, item, _ in found}.difference(items)) for user, items in held.items()}
    return [
        (user, others[user][last[user].index(time)] if time in last[user] else item, time) for user, item, time in found
    ]


def test_no_artefact_knows_the_targets_of_a_split_by_order() -> None:
    """Leave-one-out: everybody's validation and test items become others, and no byte of any artefact changes."""
    found = rows()
    write("first", found)
    write("second", with_other_targets(found))
    first = train("Council", keys("first"), **ORDER, dtlns_cache_dir="cache-1")
    second = train("Council", keys("second"), **ORDER, dtlns_cache_dir="cache-2")
    files = artefact_files("cache-1")
    assert {"teacher-TransitionRidge", "teacher-MarkovChain", "council", "verdicts"} <= {
        Path(name).parent.name for name in files
    }
    assert files == artefact_files("cache-2")
    assert dict(first.result["test_result"]) != dict(second.result["test_result"])


def test_no_artefact_knows_the_targets_of_files_split_in_advance() -> None:
    """Other pairs at other times in validation and test; the last train pairs are hidden."""
    found = rows()
    for folder, seed in (("first", 1), ("second", 2)):
        write(folder, found[: len(found) // 2], "tiny.train.inter")
        rest = [found[len(found) // 2 :][place] for place in np.random.default_rng(seed).permutation(len(found) // 4)]
        write(folder, rest[: len(rest) // 2], "tiny.valid.inter")
        write(folder, [(*pair, time * seed) for *pair, time in rest[len(rest) // 2 :]], "tiny.test.inter")
    parts = {"benchmark_filename": ["train", "valid", "test"], "dtlns_judge_hide_last": True}
    for folder in ("first", "second"):
        train("Council", keys(folder), **ORDER, **parts, dtlns_cache_dir=f"cache-{folder}")
    files = artefact_files("cache-first")
    assert files and files == artefact_files("cache-second")


@pytest.mark.parametrize(
    ("settings", "reader"),
    [
        ({"dtlns_teachers": ["ItemKNN", "MarkovChain"]}, "dtlns_teachers: MarkovChain"),
        ({"dtlns_teacher": "TransitionRidge"}, "dtlns_teacher: TransitionRidge"),
        ({"dtlns_structure_graph": "transitions"}, "dtlns_structure_graph: transitions"),
        ({"dtlns_judge": "calibrated", "dtlns_judge_reads_order": True}, "dtlns_judge_reads_order: True"),
        ({"dtlns_judge": "calibrated", "dtlns_judge_hide_last": True}, "dtlns_judge_hide_last: True"),
    ],
)
def test_data_without_times_are_refused_before_any_stage(tiny: dict[str, Any], settings: Any, reader: str) -> None:
    with pytest.raises(DataError, match=rf"{reader} needs the order .* hold no times: name the TIME_FIELD"):
        train("Council", tiny, **{"dtlns_judge": "rank", **settings}, dtlns_cache_dir="cache")
    assert not artefact_files("cache")


@pytest.mark.parametrize(
    ("order", "hidden"), [("TO", "each user's last pairs by time"), ("RO", "any pairs of each user")]
)
def test_the_summary_says_what_was_hidden_to_learn_from(order: str, hidden: str) -> None:
    """It follows the split, where nothing else is said."""
    write("data", rows())
    run = train("Council", keys("data", eval_args={**LAST_OUT, "order": order}), **ORDER)
    assert run.preparation is not None
    assert f"hidden to learn from: {hidden}" in run.preparation.summary()


def test_an_audit_has_lines_for_order() -> None:
    write("data", rows())
    found = audit_judges(["calibrated"], "BPR", "tiny", config_dict={**keys("data"), **ORDER, "show_progress": False})
    assert {"calibrated, without order", "calibrated, shuffled order"} <= set(found.scores)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({"teacher": "TransitionRidge", "judge": "calibrated"}, ["teacher", "verdicts"]),
        ({"teacher": "MarkovChain", "judge": "calibrated"}, ["teacher", "verdicts"]),
        ({"judge": "calibrated", "judge_reads_order": True}, ["verdicts"]),
        ({"judge": "calibrated", "structure_graph": "transitions"}, ["structure", "verdicts"]),
    ],
)
def test_what_knows_order_is_kept_by_the_order(settings: dict[str, Any], stages: list[str]) -> None:
    """And by nothing else of the times: the same order at other times is the same."""
    settings = {**settings, "cache_dir": "cache"}
    flat = DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in settings.items()}).flat
    pairs = block_interactions(blocks=3, users=10, items=16, missing=4)
    times = np.random.default_rng(0).permutation(pairs.matrix.nnz).astype(np.float64)
    reused = []
    for of_pairs in (times, -times, times * 3 + 1):
        found = prepare(flat, replace(pairs, times=of_pairs), make_teacher(flat)).artefacts
        reused.append({found[stage].reused for stage in stages})
    assert reused == [{False}, {False}, {True}]


def test_what_knows_no_order_is_kept_without_it() -> None:
    settings = {"teacher": "ItemKNN", "judge": "calibrated", "cache_dir": "cache"}
    flat = DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in settings.items()}).flat
    pairs = block_interactions(blocks=3, users=10, items=16, missing=4)
    times = np.random.default_rng(0).permutation(pairs.matrix.nnz).astype(np.float64)
    prepare(flat, pairs, make_teacher(flat))
    found = prepare(flat, replace(pairs, times=times), make_teacher(flat)).artefacts
    assert all(one.reused for one in found.values())
