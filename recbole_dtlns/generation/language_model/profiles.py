"""Profiles of users and items: by template, or as a language model sums up what it is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_dtlns.data.item_content import one_line
from recbole_dtlns.generation.language_model.prompts import GenerationPrompt
from recbole_dtlns.generation.language_model.shown import NOTHING, Shown
from recbole_dtlns.llm.asking import TextRequests
from recbole_dtlns.llm.engine import Engine
from recbole_dtlns.llm.kept_replies import KeptReplies
from recbole_dtlns.llm.request import FreeText, Message, Request

_BESIDE = 5  # items shown beside one


@dataclass(frozen=True)
class Profiles:
    """What is shown of users and items in requests about pairs.

    Attributes:
        user: gives a user's profile.
        items: of every item; empty for one of which nothing is known.
    """

    user: Callable[[int], str]
    items: Sequence[str]

    @classmethod
    def by_template(cls, shown: Shown) -> Profiles:
        """A user is what was chosen, an item what it says."""
        return cls(shown.profile, shown.items)

    @classmethod
    def written(cls, shown: Shown, users: Sequence[str], items: Sequence[str]) -> Profiles:
        """As a language model wrote them; where it wrote nothing, by template.

        Args:
            shown: what stands for what was not written.
            users, items: replies, of every user and item; empty where there is none.
        """
        return cls(
            lambda user: one_line(users[user]) or shown.profile(user),
            [one_line(reply) or text for reply, text in zip(items, shown.items, strict=True)],
        )


@dataclass(frozen=True)
class Step:
    """Requests of one kind: those for the profiles of users, of items, or for hard negatives.

    Attributes:
        name: in words.
        prompt: that they are made with.
        kept: where their replies are.
        requests: for those of which something is known.
        places: the request that belongs to every user, item or pair; -1 where nothing is asked.
    """

    name: str
    prompt: GenerationPrompt
    kept: KeptReplies
    requests: TextRequests
    places: Sequence[int]

    @classmethod
    def of(
        cls,
        name: str,
        prompt: GenerationPrompt,
        engine: Engine,
        cache: Path,
        values: Callable[[int], Mapping[str, str]],
        askable: Sequence[bool],
    ) -> Step:
        """The requests of a kind.

        Args:
            name: in words.
            prompt: that they are made with.
            engine: whose model is asked.
            cache: folder of what is kept between runs.
            values: what the placeholders stand for, by user, item or pair.
            askable: of every one of them, whether there is something to ask.
        """
        identity = {"model": engine.model, "revision": engine.revision(), "prompt": prompt.digest}
        kept = KeptReplies(cache / "llm-replies", identity)
        asked = [number for number, flag in enumerate(askable) if flag]

        def messages(place: int) -> list[Message]:
            return prompt.messages(values(asked[place]))

        ids = [_request_id(identity, messages(place)) for place in range(len(asked))]
        wanted = FreeText(prompt.max_tokens)
        requests = TextRequests(ids, lambda place: Request(ids[place], messages(place), wanted))
        places = [-1] * len(askable)
        for place, number in enumerate(asked):
            places[number] = place
        return cls(name, prompt, kept, requests, places)

    def texts(self, found: Mapping[str, str]) -> list[str]:
        """The reply of every user, item or pair; empty where there is none.

        Args:
            found: replies by request id.
        """
        ids = self.requests.ids
        return [found.get(ids[place], "") if place >= 0 else "" for place in self.places]


def user_step(prompt: GenerationPrompt, engine: Engine, cache: Path, shown: Shown) -> Step:
    """Requests for the profiles of users."""
    train = shown.train

    def values(user: int) -> dict[str, str]:
        return {"about": shown.about(user) or NOTHING, "history": shown.history(user)}

    askable = [bool(shown.history(user)) for user in range(train.n_users)]
    return Step.of("profiles of users", prompt, engine, cache, values, askable)


def item_step(prompt: GenerationPrompt, engine: Engine, cache: Path, shown: Shown) -> Step:
    """Requests for the profiles of items."""
    beside = list(shown.beside(_BESIDE)) if prompt.shows("beside") else [""] * shown.train.n_items

    def values(item: int) -> dict[str, str]:
        return {"item": shown.items[item], "beside": beside[item] or NOTHING}

    return Step.of("profiles of items", prompt, engine, cache, values, list(map(bool, shown.items)))


def pair_values(shown: Shown, profiles: Profiles, prompt: GenerationPrompt) -> Callable[[int, int], dict[str, str]]:
    """What the placeholders of a prompt about a pair stand for, by user and item."""
    last: dict[int, dict[str, str]] = {}  # pairs come user after user

    def of_user(user: int) -> dict[str, str]:
        if user not in last:
            last.clear()
            makers = {"profile": profiles.user, "history": shown.history}
            last[user] = {name: make(user) or NOTHING for name, make in makers.items() if prompt.shows(name)}
        return last[user]

    return lambda user, item: {**of_user(user), "item": profiles.items[item] or NOTHING}


def negative_texts(replies: Sequence[str]) -> Iterator[str]:
    """What each reply describes: its first line without quotes and marks of lists; empty for none."""
    for reply in replies:
        first = next((line for line in map(one_line, reply.splitlines()) if line), "")
        text = first.lstrip("-*\u2022 ").strip("\"'`\u201c\u201d ")
        yield "" if text.rstrip(".").casefold() in ("none", "nothing", "n/a") else text


def _request_id(identity: Mapping[str, object], messages: Sequence[Message]) -> str:
    content = json.dumps([identity, messages], sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
