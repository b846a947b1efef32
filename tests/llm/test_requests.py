"""Requests: one for every different prompt, under keys that hold nothing but what the prompt is made of."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import random_question

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Inquiry, RequestPlan
from recbole_dtlns.judges.language_model.verdict_store import VerdictStore
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree

PAIR, USER = Prompt.load("pair"), Prompt.load("user")
shapes = pytest.mark.parametrize("prompt", [PAIR, USER], ids=["pair", "user"])


def plan_of(question: Question, prompt: Prompt = PAIR, set_id: str = "set", max_history: int = 0) -> RequestPlan:
    return RequestPlan(question, prompt, set_id, max_history)


def asked(plan: RequestPlan) -> list[Inquiry]:
    return list(plan.inquiries(plan.missing(np.zeros(len(plan.keys), dtype=bool))))


def question(
    histories: list[list[str]],
    candidates: list[list[str]],
    names: tuple[str, str] = ("u", "i"),
    scores: float = 0.0,
) -> Question:
    """Items are given by both codes, "structure/semantic", each one digit a level; histories are oldest first."""
    every = list(dict.fromkeys(code for group in (*histories, *candidates) for code in group))
    item = {code: f"{names[1]}{number:03d}" for number, code in enumerate(every)}
    users = [f"{names[0]}{number:03d}" for number in range(len(histories))]
    pairs = [
        (user, item[code], time)
        for user, group in zip(users, histories, strict=True)
        for time, code in enumerate(group)
    ]
    pairs += [("~", item[code], 0) for code in every]
    tokens = np.array([pair[:2] for pair in pairs])
    train = TrainInteractions.from_tokens(tokens[:, 0], tokens[:, 1], np.array([pair[2] for pair in pairs], float))
    views = {
        name: ItemTree.from_paths(["-".join(code.split("/")[tree]) for code in every])
        for tree, name in enumerate(("structure", "semantic"))
    }
    rows = [(user, every.index(code)) for user, group in enumerate(candidates) for code in group]
    columns = np.array(rows, dtype=np.int32).reshape(-1, 2).T
    ranks = np.arange(len(rows), dtype=np.int32) + np.int32(scores)
    return Question(train, Candidates(*columns, ranks, ranks.astype(np.float32) + np.float32(scores)), views)


def keys(*arguments: object, prompt: Prompt = PAIR, **named: object) -> list[bytes]:
    plan = plan_of(question(*arguments, **named), prompt)
    return [key.tobytes() for key in plan.keys]


# ---------------------------------------------------------------- what keys depend on

HISTORY, CANDIDATES = [["00/1", "01/2"]], [["10/1", "11/0"]]


@shapes
def test_names_and_scores_are_not_part_of_a_key(prompt: Prompt) -> None:
    """The same codes under other users, items and teachers are the same prompt: answered once, for all data sets."""
    first = keys(HISTORY, CANDIDATES, prompt=prompt)
    assert len(set(first)) == 2
    assert keys(HISTORY, CANDIDATES, ("someone", "something"), prompt=prompt) == first
    assert keys(HISTORY, CANDIDATES, scores=7.5, prompt=prompt) == first


@shapes
@pytest.mark.parametrize(
    "history",
    [["01/2", "00/1"], ["00/1"], ["00/1", "01/2", "02/0"], ["00/1", "01/3"], ["00/1", "02/2"], ["00/2", "01/1"]],
    ids=str,
)
def test_any_other_history_is_another_key(history: list[str], prompt: Prompt) -> None:
    """Other order, fewer, more, or other codes in either tree."""
    assert not set(keys([history], CANDIDATES, prompt=prompt)) & set(keys(HISTORY, CANDIDATES, prompt=prompt))


@pytest.mark.parametrize("candidate", ["10/0", "12/1", "1/1", "/1", "10/", "1/01", "101/"])
def test_any_other_candidate_code_is_another_key(candidate: str) -> None:
    """In either tree, moved from one to the other, longer, shorter or missing."""
    assert keys(HISTORY, [[candidate]]) != keys(HISTORY, [["10/1"]])


def test_history_and_candidate_are_not_interchangeable() -> None:
    """A key is not the same when what was chosen and what is asked about change places."""
    assert keys([["1/2"]], [["3/4"]]) != keys([["3/4"]], [["1/2"]])


@shapes
def test_model_and_prompt_are_part_of_a_key(prompt: Prompt) -> None:
    """Another model, revision or text never finds these verdicts, even in one folder."""
    identity = {"model": "m", "revision": None, "prompt": prompt.digest}
    others = [identity, *({**identity, **change} for change in ({"model": "n"}, {"revision": "1"}, {"prompt": "x"}))]
    found = [
        plan_of(question(HISTORY, CANDIDATES), prompt, VerdictStore("root", other).id).keys[:, 0].tolist()
        for other in others
    ]
    assert len(set().union(*found)) == 8


def test_the_other_candidates_are_part_of_a_key_only_where_they_are_in_the_prompt() -> None:
    """Shape `user` shows the whole group; shape `pair` shows one candidate."""
    more = [[*CANDIDATES[0], "12/2"]]
    assert keys(HISTORY, more, prompt=PAIR)[:2] == keys(HISTORY, CANDIDATES, prompt=PAIR)
    turned = [CANDIDATES[0][::-1]]
    for other in (more, turned):
        assert not set(keys(HISTORY, other, prompt=USER)) & set(keys(HISTORY, CANDIDATES, prompt=USER))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([PAIR, USER]), max_history=st.integers(0, 3))
def test_keys_are_equal_exactly_where_prompts_are(seed: int, shape: Prompt, max_history: int) -> None:
    """Few codes, so that many prompts are equal: two requests share a key if and only if all their words agree."""
    plan = plan_of(random_question(12, 12, 3, 3, seed), shape, max_history=max_history)
    said: dict[bytes, str] = {}
    for pair in range(len(plan.keys)):
        (request,) = plan.inquiries(np.array([pair]))
        candidate = plan._codes[plan.question.candidates.items[pair]]
        assert set(request.keys) & {plan.keys[pair].tobytes()} or shape is USER
        text = f"{request.messages()}|{candidate}"
        assert said.setdefault(plan.keys[pair].tobytes(), text) == text
    assert len(set(said.values())) == len(said)


def test_keys_of_a_batch_are_the_keys_one_by_one() -> None:
    """A question put in parts finds the verdicts of the whole, in any company of other users."""
    whole = random_question(30, 60, 5, 4, seed=3)
    plan = plan_of(whole)
    for pair in range(0, len(plan.keys), 7):
        assert (plan_of(whole.about(np.array([pair]))).keys == plan.keys[[pair]]).all()


def test_no_two_keys_of_many_are_equal() -> None:
    """200 000 random pairs of a history and a candidate: no collision, not even in one half of the keys."""
    random = np.random.default_rng(0)
    users, items = 2000, 5000
    chosen = random.integers(0, items, (users, 4))
    owners = np.concatenate([np.repeat(np.arange(users) + 10_000, 4), np.full(items, 99_999)]).astype(str)
    things = np.concatenate([chosen.ravel(), np.arange(items)])
    train = TrainInteractions.from_tokens(owners, np.char.zfill(things.astype(str), 5))
    digits = np.stack(np.unravel_index(np.arange(items), (9, 9, 9, 9)), axis=1).astype(np.int16)
    candidates = np.stack([random.choice(items, 100, replace=False) for _ in range(users)])
    zeros = np.zeros(candidates.size)
    many = Question(
        train,
        Candidates(
            np.repeat(np.arange(users), 100).astype(np.int32),
            candidates.ravel().astype(np.int32),
            zeros.astype(np.int32),
            zeros.astype(np.float32),
        ),
        {"structure": ItemTree(digits), "semantic": ItemTree(digits[::-1].copy())},
    )
    plan = plan_of(many)
    assert len(plan.keys) == 200_000
    for half in plan.keys.T:
        assert len(np.unique(half)) == 200_000
    flips = np.unpackbits(plan.keys.view(np.uint8), axis=1).mean(axis=0)
    assert (abs(flips - 0.5) < 0.01).all(), "every bit is set in half of the keys"


# ---------------------------------------------------------------- requests


def test_equal_prompts_share_one_request() -> None:
    """Two users with one history, two items in one leaf: asked once, and every pair finds the answer."""
    twins = question([["0/0"], ["0/0"], ["1/1"]], [["2/2", "3/3"], ["2/2"], ["2/2"]])
    same_leaf = replace(twins, views=dict.fromkeys(twins.views, ItemTree.from_paths(["0", "1", "2", "2"])))
    plan = plan_of(same_leaf)
    assert len(asked(plan)) == 2
    assert len(np.unique(plan.keys[:, 0])) == 2
    assert (plan.keys[0] == plan.keys[1]).all() and (plan.keys[0] == plan.keys[2]).all()
    assert plan.count(plan.missing(np.zeros(4, dtype=bool))) == 2
    grouped = plan_of(same_leaf, USER)
    assert [len(request.candidates) for request in asked(grouped)] == [1, 1]


@shapes
def test_requests_come_in_the_order_of_users(prompt: Prompt) -> None:
    """Requests with one history follow each other, so that a prefix cache holds it."""
    plan = plan_of(random_question(20, 200, 5, 4, seed=1), prompt)
    histories = [request.history for request in asked(plan)]
    assert len(histories) == (80 if prompt is PAIR else 20)
    changes = sum(one != other for one, other in pairwise(histories))
    assert changes == len(set(histories)) - 1
    missing = plan.missing(np.zeros(len(plan.keys), dtype=bool))
    assert (np.diff(missing) > 0).all()
    assert plan.count(missing) == len(histories)


@shapes
def test_only_what_is_unknown_is_asked(prompt: Prompt) -> None:
    """Known pairs make no request; in shape `user` one unknown pair asks about the whole group again."""
    plan = plan_of(random_question(5, 200, 5, 4, seed=2), prompt)
    known = np.ones(20, dtype=bool)
    assert len(plan.missing(known)) == 0
    known[[6, 13]] = False
    assert plan.missing(known).tolist() == [6, 13]
    requests = list(plan.inquiries(plan.missing(known)))
    assert [len(request.keys) for request in requests] == ([1, 1] if prompt is PAIR else [4, 4])
    assert {plan.keys[pair].tobytes() for pair in (6, 13)} <= {key for request in requests for key in request.keys}


def test_only_the_latest_items_are_shown() -> None:
    """`max_history` keeps the newest; histories that agree in them share their verdicts."""
    long, other = [["0/0", "1/1", "2/2", "3/3"]], [["9/9", "2/2", "3/3"]]
    short = [["2/2", "3/3"]]
    plans = [plan_of(question(history, [["5/5"]]), max_history=2) for history in (long, other, short)]
    assert {plan.keys.tobytes() for plan in plans} == {plan_of(question(short, [["5/5"]])).keys.tobytes()}
    assert {asked(plan)[0].messages()[1]["content"] for plan in plans} == {"A: 2 3\nB: 2 3\nCandidate: A 5 B 5"}
    assert plan_of(question(long, [["5/5"]]), max_history=3).keys.tobytes() != plans[0].keys.tobytes()
    (request,) = asked(plan_of(question(long, [["5/5"]])))
    assert [request.messages(newest)[1]["content"].split("\n")[0] for newest in (4, 1, 0)] == [
        "A: 0 1 2 3",
        "A: 3",
        "A: none",
    ]


def test_pairs_without_a_common_tree_are_not_asked() -> None:
    """A candidate and a history that no tree holds both of give a model nothing to compare."""
    plan = plan_of(question([["0/"], ["/0"], ["0/0"], ["/"]], [["1/1", "1/", "/1", "/"]] * 4))
    expected = [[True, True, False, False], [True, False, True, False], [True, True, True, False], [False] * 4]
    assert plan.askable.reshape(4, 4).tolist() == expected
    assert len(asked(plan)) == 7


def test_a_request_is_named_by_its_content() -> None:
    """The name in exported files is the same on every machine, and for shape `user` stands for the whole group."""
    (request,) = asked(plan_of(question(HISTORY, CANDIDATES), USER))
    (again,) = asked(plan_of(question(HISTORY, CANDIDATES, ("x", "y")), USER))
    assert request.id == again.id == request.keys[0].hex()
    assert asked(plan_of(question(HISTORY, [CANDIDATES[0][::-1]]), USER))[0].id != request.id


def test_keys_are_the_same_on_every_machine() -> None:
    """Golden: verdicts that were kept are found again by another version, processor and data set."""
    assert [key.hex() for key in keys(HISTORY, [["10/1"]])] == ["61828122f2e7250e0228f11142a05df8"]
