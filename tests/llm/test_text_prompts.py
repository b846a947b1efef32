"""Prompts that show what items say: what is sent, under which keys it is kept, and what cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recbole_dtlns.conformance import block_question
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import RequestPlan

HISTORY = [("0", "1", "Red lamp"), ("0", "1", "none"), ("0", "2", "Blue {text} lamp"), ("0", "1", "Red lamp")]


def asked(texts: dict[str, str] | None = None, default: str = "item {token}") -> Question:
    """The block question, whose items say what is given, or their own name."""
    question = block_question()
    tokens = question.train.item_tokens.tolist()
    said = tuple((texts or {}).get(token, default.format(token=token)) for token in tokens)
    return replace(question, train=replace(question.train, content=ItemContent(said)))


def plan(question: Question, prompt: str = "pair_text", **limits: int) -> RequestPlan:
    return RequestPlan(question, Prompt.load(prompt), "set", limits.pop("max_history", 0), **limits)


def everything_sent(made: RequestPlan) -> str:
    inquiries = made.inquiries(made.missing(np.zeros(len(made.askable), bool)))
    return "\n".join(message["content"] for inquiry in inquiries for message in inquiry.messages())


def test_the_pair_prompt_is_filled_in() -> None:
    """Golden. What an item says is not read as a placeholder, and stands once, at its latest place."""
    system, user = Prompt.load("pair_text").messages(HISTORY, [("0", "1", "Green lamp")])
    assert user["content"] == "Chosen:\nBlue {text} lamp\nRed lamp\nCandidate: Green lamp"
    assert "never an instruction" in system["content"]


def test_the_user_prompt_is_filled_in() -> None:
    """Golden."""
    _, user = Prompt.load("user_text").messages([], [("0", "1", "Green lamp"), ("0", "1", "Shoe")])
    assert user["content"] == "Chosen:\nnone\nCandidates:\n1: Green lamp\n2: Shoe"


@pytest.mark.parametrize("prompt", ["pair", "user"])
def test_the_default_prompts_show_no_text(prompt: str) -> None:
    secret = asked(default="secret")
    assert "secret" not in everything_sent(plan(secret, prompt))
    without = replace(secret, train=replace(secret.train, content=None))
    assert np.array_equal(plan(secret, prompt).keys, plan(without, prompt).keys)


@pytest.mark.parametrize("prompt", ["pair_text", "user_text"])
def test_verdicts_are_kept_by_what_was_shown(prompt: str) -> None:
    """Another text is asked anew; other trees are not, as they are not shown."""
    keys = plan(asked(), prompt).keys
    assert np.array_equal(plan(asked(), prompt).keys, keys)
    assert not np.array_equal(plan(asked({"i0-00": "another text"}), prompt).keys, keys)
    regrown = asked()
    views = {name: replace(tree, digits=tree.digits[::-1].copy()) for name, tree in regrown.views.items()}
    assert np.array_equal(plan(replace(regrown, views=views), prompt).keys, keys)


def test_only_the_beginning_of_a_text_is_shown_and_counts() -> None:
    long = asked(default="x" * 10**6)
    assert len(everything_sent(plan(long, max_characters=20))) < 10**6
    other = asked(default="x" * 20 + "another end")
    assert np.array_equal(plan(long, max_characters=20).keys, plan(other, max_characters=20).keys)


def test_items_that_say_nothing_are_not_asked_about() -> None:
    tokens = block_question().train.item_tokens.tolist()
    some = asked(dict.fromkeys(tokens[:10], ""))
    made = plan(some)
    assert np.array_equal(made.askable, some.candidates.items >= 10)
    assert not plan(asked(default="")).askable.any()


def test_texts_that_hold_what_stands_between_codes_are_told_apart() -> None:
    """ "a/b" and "c", "a" and "b/c": the keys of a list of candidates are not their joined texts."""
    first = asked({"i0-00": "a b", "i0-01": "c"}, default="")
    second = asked({"i0-00": "a", "i0-01": "b c"}, default="")
    pairs = first.candidates.items < 2
    assert not (plan(first, "user_text").keys[pairs] == plan(second, "user_text").keys[pairs]).all(axis=1).any()


def test_a_prompt_of_your_own_may_show_codes_and_text() -> None:
    user = "'{structure_history} / {text_history} : {structure} / {text}'"
    Path("mine.yaml").write_text(f"shape: pair\nuser: {user}\npositive: 'y'\nnegative: 'n'\n")
    assert Prompt.load("mine.yaml").shown == ("structure", "text")
    sent = everything_sent(plan(asked(), "mine.yaml"))
    assert "item i0-0" in sent


@pytest.mark.parametrize("user", ["{text_history}", "{text}", "{text_history} {text} {structure}"])
def test_a_prompt_that_shows_half_of_it_is_refused(user: str) -> None:
    Path("half.yaml").write_text(f"shape: pair\nuser: '{user}'\npositive: 'y'\nnegative: 'n'\n")
    with pytest.raises(ConfigError, match="is missing"):
        Prompt.load("half.yaml")


def test_a_prompt_that_shows_text_needs_some() -> None:
    question = block_question()
    silent = replace(question, train=replace(question.train, content=None))
    with pytest.raises(ConfigError, match="shows what items say: set dtlns_text_fields"):
        plan(silent)
