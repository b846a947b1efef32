"""A language model generates hard negatives: what it is shown, what is kept of it, and what becomes of it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_interactions
from writing_engine import Stopped, WritingEngine

from recbole_dtlns.conformance.blocks import block_content, block_of
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.data.user_texts import UserFields
from recbole_dtlns.errors import ConfigError, DataError, EngineError
from recbole_dtlns.generation import GenerationTask
from recbole_dtlns.generation.language_model.estimate import generation_cost, pending_steps
from recbole_dtlns.generation.language_model.generator import LLMGenerator
from recbole_dtlns.generation.language_model.profiles import negative_texts
from recbole_dtlns.generation.language_model.prompts import GenerationPrompt
from recbole_dtlns.generation.language_model.shown import Shown
from recbole_dtlns.guidance.generated import MatchedItems, VectorsByPair
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.text.tfidf import TFIDF

ENCODER = TFIDF(dim=16)


def told(**changes: Any) -> TrainInteractions:
    """The block data; an item says the words of its block, and one of its own."""
    train = block_interactions(blocks=3, users=4, items=8, missing=2)
    return replace(train, content=block_content(train), **changes)


def task_of(train: TrainInteractions, *, nothing_forbidden: bool = False) -> GenerationTask:
    """False negatives are the missing items of each user's block."""
    own, blocks = block_of(train.user_tokens), block_of(train.item_tokens)
    missing = [
        (user, item)
        for user in range(train.n_users)
        for item in np.flatnonzero((blocks == own[user]) & (train.matrix[[user]].toarray()[0] == 0)).tolist()
    ]
    users, items = np.array([] if nothing_forbidden else missing, dtype=np.int64).reshape(-1, 2).T
    return GenerationTask(
        train,
        unit_rows(ENCODER.encode(train)),
        np.zeros((train.n_items, 2), dtype=np.float32),
        PairSet.of(users, items),
        (users, items),
        ENCODER,
    )


def words_of(train: TrainInteractions, block: int) -> str:
    assert train.content is not None
    return " ".join(train.content.texts[np.flatnonzero(block_of(train.item_tokens) == block)[0]].split()[:3])


def of_next_block(train: TrainInteractions) -> Any:
    """Describes an item of the block after the chosen one's."""

    def write(message: str) -> str:
        chosen = message.split("Chosen: ")[1]
        block = next(block for block in range(3) if words_of(train, block) in chosen)
        return f' "{words_of(train, (block + 1) % 3)}"\nbecause it is so.'

    return write


def generator(engine: WritingEngine, **settings: Any) -> LLMGenerator:
    return LLMGenerator(engine=engine, cache_dir="kept", **settings)  # type: ignore[arg-type]


# --- what is shown ---


def test_a_history_is_in_time_and_has_every_text_once() -> None:
    train = TrainInteractions.from_tokens(
        np.array(["a"] * 4 + ["b"]), np.array(["w", "x", "y", "z", "x"]), np.array([3.0, 1.0, 2.0, 4.0, 1.0])
    )
    content = replace(block_content(block_interactions()), texts=("west", "extra long", "", "west"))
    shown = Shown(replace(train, content=content, user_texts=("a: 41 years", "")), latest=4, characters=5)
    assert shown.history(0) == "extra\nwest", "item z says what w said before"
    assert shown.profile(0) == "a: 41\nextra\nwest"
    assert shown.profile(1) == "extra"
    assert Shown(replace(train, content=content), latest=1, characters=5).history(0) == "west"


def test_items_stand_beside_those_of_the_same_users() -> None:
    """Counted in plain Python."""
    train = told()
    owned = train.matrix.toarray() > 0
    for item, lines in enumerate(Shown(train, 5, 100).beside(3)):
        counts = {other: int((owned[:, item] & owned[:, other]).sum()) for other in range(train.n_items)}
        counts.pop(item)
        best = sorted((other for other in counts if counts[other]), key=lambda other: (-counts[other], other))[:3]
        assert train.content is not None
        assert lines.split("\n") == [train.content.texts[other] for other in best]


def test_what_users_say_is_named_by_field() -> None:
    fields = UserFields(user_text_fields=["age", "job"])
    rows = {"a": {"age": "41", "job": "sailor\n"}, "b": {"age": "", "job": "cook"}}
    assert fields.texts(rows, ["a", "b", "c"]) == ("age: 41; job: sailor", "job: cook", "")


def test_nothing_filled_in_is_read_as_a_placeholder() -> None:
    prompt = GenerationPrompt.load("negative", "negative", "dtlns_x")
    values = {"profile": "{item} and {profile}", "item": "a {history} book"}
    shown = prompt.messages(values)[-1]["content"]
    assert "{item} and {profile}" in shown and "a {history} book" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("purpose: negative\nuser: '{item}'", "{profile} or {history} is missing"),
        ("purpose: negative\nuser: '{profile} {itm} {item}'", "unknown placeholder {itm}. Did you mean 'item'?"),
        ("purpose: query\nuser: '{profile} {item}'\nsystem: no", "has no system message"),
        ("purpose: item_profile\nuser: '{item}'", "is for negative"),
        ("purpose: negative\nuser: '{profile} {item}'\nmax_tokens: 0", "max_tokens"),
    ],
)
def test_a_prompt_file_that_cannot_work_is_refused(text: str, message: str) -> None:
    Path("own.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        GenerationPrompt.load("own.yaml", "negative", "dtlns_hnlmrec_llm_prompt")
    assert message in str(error.value)


def test_the_first_line_of_a_reply_counts() -> None:
    replies = ["\n - \u201cRed shoe\u201d \nsince", "None.", "", "'none'", "a  b\tc"]
    assert list(negative_texts(replies)) == ["Red shoe", "", "", "", "a b c"]


# --- what becomes of replies ---


def test_descriptions_become_the_nearest_real_items_that_the_user_may_have() -> None:
    train = told()
    task = task_of(train)
    engine = WritingEngine(of_next_block(train))
    made = generator(engine, items=2)
    arrays, facts = made.generate(task)
    found = made.restored(arrays, task)
    assert isinstance(found, MatchedItems) and (found.items >= 0).all()
    users, _ = train.histories()
    blocks, own = block_of(train.item_tokens), block_of(train.user_tokens)
    assert (blocks[found.items] == (own[users][:, None] + 1) % 3).all()
    assert len(engine.asked) == len(set(engine.asked)) == facts["requests"] == train.matrix.nnz
    assert facts["described"] == 3 and facts["none"] == 0 and facts["tokens"] == 7 * train.matrix.nnz


def test_observed_items_and_false_negatives_are_never_matched() -> None:
    """The model names the user's own taste: all of that block is observed or a false negative."""
    train = told()
    task = task_of(train)
    made = generator(WritingEngine(lambda message: words_of(train, 0)))
    found = made.restored(made.generate(task)[0], task)
    assert isinstance(found, MatchedItems)
    users, _ = train.histories()
    own = block_of(train.user_tokens)[users] == 0
    named = found.items[own]
    assert (block_of(train.item_tokens)[named[named >= 0]] != 0).all()
    assert (block_of(train.item_tokens)[found.items[~own][:, 0]] == 0).all()


def test_a_description_stands_for_itself_where_the_item_nearest_to_it_is_free() -> None:
    train = told()
    task = task_of(train)
    made = generator(WritingEngine(lambda message: words_of(train, 0)), match="text")
    arrays, facts = made.generate(task)
    found = made.restored(arrays, task)
    assert isinstance(found, VectorsByPair)
    users, items = train.histories()
    vectors, known = found.of(users, items, np.zeros(len(users)))
    nearest = int((task.vectors @ unit_rows(ENCODER.encode_others(train, [words_of(train, 0)]))[0]).argmax())
    own = block_of(train.user_tokens)[users] == 0
    assert np.array_equal(known, ~own) and facts["of_blocked_items"] == own.sum()
    assert block_of(train.item_tokens[[nearest]])[0] == 0
    assert np.allclose(vectors[known] @ task.vectors[nearest], (task.vectors @ vectors[known][0]).max(), atol=1e-2)


def test_pairs_of_which_nothing_is_written_keep_the_samplers_negative() -> None:
    train = told()
    task = task_of(train)
    made = generator(WritingEngine(lambda message: "None" if message.endswith(("x00", "x01")) else words_of(train, 1)))
    arrays, facts = made.generate(task)
    none = (arrays["items"] < 0).all(axis=1)
    assert 0 < none.sum() == facts["none"] < len(none)
    silent = generator(WritingEngine(lambda message: "none"), prompt=own_prompt("{profile} {item}"))
    with pytest.raises(DataError, match="described no hard negative for any of"):
        silent.generate(task)
    strange = generator(WritingEngine(lambda message: "zzz qqq"), prompt=own_prompt("{item} {profile}"))
    assert (strange.generate(task)[0]["items"] == -1).all(), "no word of it is known, so nothing is near"


def own_prompt(text: str) -> str:
    Path(f"{len(text)}-{abs(hash(text))}.yaml").write_text(f"purpose: negative\nuser: '{text}'\n")
    return f"{len(text)}-{abs(hash(text))}.yaml"


def test_a_model_may_be_asked_about_some_pairs_alone() -> None:
    train = told()
    engine = WritingEngine(of_next_block(train))
    arrays, facts = generator(engine, max_pairs=10).generate(task_of(train))
    asked = (arrays["items"] >= 0).any(axis=1)
    assert asked.sum() == len(engine.asked) == facts["requests"] == 10
    other = generator(WritingEngine(of_next_block(train)), max_pairs=10, seed=7).generate(task_of(train))[0]["items"]
    assert not np.array_equal(asked, (other >= 0).any(axis=1))


def test_profiles_that_a_model_wrote_stand_in_the_requests_about_pairs() -> None:
    train = told(user_texts=tuple(f"age: {number}" for number in range(12)))

    def write(message: str) -> str:
        if message.startswith("About the user"):
            return f"likes what is {message.splitlines()[0][-2:].strip()}\nand old"
        return "an item profile" if message.startswith("Item: ") else words_of(train, 0)

    engine = WritingEngine(write)
    _, facts = generator(engine, profile="llm").generate(task_of(train))
    about_pairs = [message for message in engine.asked if message.startswith("The user:")]
    assert facts["requests"] == len(engine.asked) == train.n_users + train.n_items + len(about_pairs)
    assert set(about_pairs) == {
        f"The user:\nlikes what is {number} and old\nChosen: an item profile" for number in range(12)
    }


# --- what is kept ---


def test_a_killed_round_goes_on_where_it_was_and_asks_nothing_twice() -> None:
    train = told()
    task = task_of(train)
    first = WritingEngine(of_next_block(train), stop_after=20)
    with pytest.raises(Stopped):
        generator(first).generate(task)
    second = WritingEngine(of_next_block(train))
    arrays = generator(second).generate(task)[0]
    assert len(first.asked) == 20 and not set(first.asked) & set(second.asked)
    assert len(second.asked) == train.matrix.nnz - 20
    third = WritingEngine(of_next_block(train))
    assert np.array_equal(generator(third).generate(task)[0]["items"], arrays["items"])
    assert third.asked == []
    other = WritingEngine(of_next_block(train), model="another")
    generator(other).generate(task)
    assert len(other.asked) == train.matrix.nnz, "another model's replies are its own"


def test_torn_and_damaged_replies_are_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    train = told()
    task = task_of(train)
    generator(WritingEngine(of_next_block(train))).generate(task)
    (file,) = Path("kept").rglob("*.replies")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"tokens": 7', b'"tokens": 8')
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:30])
    engine = WritingEngine(of_next_block(train))
    with caplog.at_level(logging.WARNING):
        generator(engine).generate(task)
    assert len(engine.asked) == 2 and "1 damaged replies" in caplog.text


def test_too_many_failures_stop_with_examples_and_lose_nothing() -> None:
    train = told()
    task = task_of(train)
    count = iter(range(1000))
    engine = WritingEngine(lambda message: None if next(count) % 3 == 2 else of_next_block(train)(message))
    with pytest.raises(EngineError, match=r"have no reply, more than dtlns_hnlmrec_llm_max_failed \(10%\).*HTTP 500"):
        generator(engine).generate(task)
    again = WritingEngine(of_next_block(train))
    generator(again, max_failed=0.5).generate(task)
    answered = sum(1 for number in range(len(engine.asked)) if number % 3 != 2)
    assert len(again.asked) == train.matrix.nnz - answered


def test_replies_of_two_models_are_not_mixed() -> None:
    train = told()
    task = task_of(train)
    with pytest.raises(Stopped):
        generator(WritingEngine(of_next_block(train), stop_after=5, named="m-1")).generate(task)
    with pytest.raises(EngineError, match=r"answered as 'm-2', and as 'm-1' before.*dtlns_hnlmrec_llm_revision"):
        generator(WritingEngine(of_next_block(train), named="m-2")).generate(task)


# --- before anything is asked ---


def test_a_dry_run_counts_requests_and_tokens_and_asks_nothing() -> None:
    train = told()
    engine = WritingEngine(of_next_block(train))
    made = generator(engine)
    found = generation_cost(made, train, ENCODER)
    (step,) = found.steps
    assert (step.requests, step.answered, engine.asked) == (train.matrix.nnz, 0, [])
    work = made.work(train)
    prompts = work.negatives(work.profiles([])).requests
    assert step.tokens == sum(len(prompts.make(n).messages[-1]["content"].encode()) for n in range(train.matrix.nnz))
    assert step.reply_tokens == 64 * train.matrix.nnz
    assert "time: unknown" in found.text() and "Chosen: " in found.text()
    probed = generation_cost(made, train, ENCODER, probe=4)
    assert len(engine.asked) == 5 and probed.steps[0].probed == 4 and probed.steps[0].seconds is not None
    assert generation_cost(made, train, ENCODER).steps[0].answered == 5


def test_requests_about_pairs_wait_for_profiles() -> None:
    train = told()
    engine = WritingEngine(lambda message: "a profile")
    made = generator(engine, profile="llm")
    cost = generation_cost(made, train, ENCODER)
    assert [step.requests for step in cost.steps] == [12, 24, train.matrix.nnz]
    assert cost.by_template and "Profiles by template stand for" in cost.text()
    steps = pending_steps(made, train)
    assert [(step.name, len(those)) for step, those in steps] == [
        ("profiles of users", 12),
        ("profiles of items", 24),
    ]
    made.generate(task_of(train))
    assert [len(those) for _, those in pending_steps(made, train)] == [0]


# --- what cannot work ---


def test_what_cannot_work_is_refused() -> None:
    train = told()
    made = generator(WritingEngine(of_next_block(train)))
    silent = replace(train, content=None)
    with pytest.raises(ConfigError, match="set dtlns_text_fields"):
        made.generate(replace(task_of(train), train=silent))
    with pytest.raises(ConfigError, match="leave out dtlns_hnlmrec_space: teacher"):
        made.generate(replace(task_of(train), encoder=None))
    with pytest.raises(ConfigError, match="set dtlns_text_encoder to transformers, vllm or openai"):
        LLMGenerator(form="vector", cache_dir="kept").generate(task_of(train))
    with pytest.raises(ConfigError, match="needs dtlns_judge_model"):
        LLMGenerator(engine=None)
    assert json.dumps(made.inputs()), "plain data"
