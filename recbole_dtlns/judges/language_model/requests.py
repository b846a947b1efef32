"""From a question to requests: which prompts, for which pairs, under which keys.

A prompt depends only on what is shown of items, by default their codes, so pairs with equal histories and candidates
share one request, and the key of a verdict is a hash of what the prompt is made of: no user, no item id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model.prompt import NO_CODE, Code, Prompt, history_codes
from recbole_dtlns.llm.request import Message, Request
from recbole_dtlns.numerics.counter_random import split_mix
from recbole_dtlns.trees.item_tree import ItemTree


@dataclass(frozen=True)
class Inquiry:
    """What one request asks about.

    Attributes:
        prompt: the texts.
        history: codes of the user's items, oldest first.
        candidates: codes of the candidates asked about.
        keys: of the verdicts, 16 bytes per candidate.
    """

    prompt: Prompt
    history: tuple[Code, ...]
    candidates: tuple[Code, ...]
    keys: tuple[bytes, ...]

    @property
    def id(self) -> str:
        """Names the request in files: hexadecimal, a hash of its content."""
        return self.keys[0].hex()

    def messages(self, newest: int | None = None) -> list[Message]:
        """The chat messages; with `newest`, only that many of the latest history items are shown."""
        history = self.history if newest is None else self.history[len(self.history) - newest :]
        return self.prompt.messages(history, self.candidates)

    def request(self) -> Request:
        """What is sent to the model."""
        return Request(self.id, self.messages(), self.prompt.wanted(len(self.candidates)), _Shorter(self))


@dataclass(frozen=True)
class _Shorter(Sequence[list[Message]]):
    """The messages of an inquiry without its oldest history items: with none of them, the latest, the latest two ..."""

    inquiry: Inquiry

    def __len__(self) -> int:
        return len(self.inquiry.history)

    @overload
    def __getitem__(self, newest: int) -> list[Message]: ...
    @overload
    def __getitem__(self, newest: slice) -> list[list[Message]]: ...
    def __getitem__(self, newest: int | slice) -> list[Message] | list[list[Message]]:
        if isinstance(newest, slice):
            return [self.inquiry.messages(each) for each in range(*newest.indices(len(self)))]
        return self.inquiry.messages(range(len(self))[newest])


_CHUNK_PAIRS = 4096
_KEY_BYTES = 16


class RequestPlan:
    """The requests that a question needs.

    Args:
        question: what is to be judged.
        prompt: how it is asked.
        set_id: identity of the verdict set (model, revision, prompt); part of every key.
        max_history: only this many of a user's latest items are shown; 0 means all.
        max_characters: only this many of an item's text are shown.

    Attributes:
        keys: of every pair's verdict, uint64 [n_pairs, 2].
        askable: whether a pair can be asked: candidate and history have a code in at least one common tree, or both a
            text, as far as the prompt shows these, bool.

    Raises:
        ConfigError: the prompt shows texts, and there are none.
    """

    def __init__(
        self, question: Question, prompt: Prompt, set_id: str, max_history: int, max_characters: int = 200
    ) -> None:
        self.question = question
        self.prompt = prompt
        self.max_history = max_history
        shown = _shown(question, prompt, max_characters)
        self._known = [np.array([code != NO_CODE for code in part]) for part in shown]
        self._codes = list(zip(*shown, strict=True))
        train = question.train
        users, items = train.histories()
        order = users.argsort(kind="stable") if train.times is None else np.lexsort((items, train.times, users))
        self._items = items[order].tolist()
        self._starts = train.matrix.indptr.tolist()
        candidates = question.candidates
        self._first_pair = np.searchsorted(candidates.users, np.arange(train.n_users + 1))
        self.askable = self._askable()
        self.keys = _mix(self._user_digests(set_id)[candidates.users], self._item_digests()[candidates.items])

    def missing(self, known: np.ndarray) -> np.ndarray:
        """Pairs to be asked, one for each key, in the order of users.

        Args:
            known: whether a pair's verdict is known, bool [n_pairs].

        Returns:
            positions of pairs, int64, ascending; in shape `user` all the user's pairs belong to the request.
        """
        wanted = np.flatnonzero(self.askable & ~known)
        _, first = np.unique(self.keys[wanted, 0], return_index=True)
        return wanted[np.sort(first)]

    def inquiries(self, pairs: np.ndarray) -> Iterator[Inquiry]:
        """The inquiries that answer these pairs (of `missing`), in their order."""
        users = self.question.candidates.users[pairs]
        if self.prompt.shape == "pair":
            history: tuple[Code, ...] = ()
            last = -1
            for start in range(0, len(pairs), _CHUNK_PAIRS):
                chunk = slice(start, start + _CHUNK_PAIRS)
                items, keys = self.question.candidates.items[pairs[chunk]], self.keys[pairs[chunk]].tobytes()
                for place, (user, item) in enumerate(zip(users[chunk].tolist(), items.tolist(), strict=True)):
                    if user != last:
                        history, last = self._history(user), user
                    key = keys[place * _KEY_BYTES : (place + 1) * _KEY_BYTES]
                    yield Inquiry(self.prompt, history, (self._codes[item],), (key,))
        else:
            for user in dict.fromkeys(users.tolist()):
                group = self._group(user)
                keys = tuple(self.keys[pair].tobytes() for pair in group)
                yield Inquiry(self.prompt, self._history(user), tuple(map(self._code, group)), keys)

    def pairs_of(self, pairs: np.ndarray, start: int, stop: int) -> np.ndarray:
        """The pairs that the requests numbered start to stop - 1 are about, for asking only these."""
        if self.prompt.shape == "pair":
            return pairs[start:stop]
        users = self.question.candidates.users
        chosen = np.array(list(dict.fromkeys(users[pairs].tolist()))[start:stop])
        return np.flatnonzero(np.isin(users, chosen))

    def count(self, pairs: np.ndarray) -> int:
        """How many requests answer these pairs."""
        return len(pairs) if self.prompt.shape == "pair" else len(np.unique(self.question.candidates.users[pairs]))

    def _group(self, user: int) -> list[int]:
        """The user's askable pairs, one for each code."""
        pairs = np.arange(self._first_pair[user], self._first_pair[user + 1])
        items = self.question.candidates.items[pairs].tolist()
        first: dict[Code, int] = {}
        for pair, item in zip(pairs.tolist(), items, strict=True):
            if self.askable[pair]:
                first.setdefault(self._codes[item], pair)
        return list(first.values())

    def _history(self, user: int) -> tuple[Code, ...]:
        items = self._items[self._starts[user] : self._starts[user + 1]]
        return tuple(self._codes[item] for item in (items[-self.max_history :] if self.max_history else items))

    def _user_digests(self, set_id: str) -> np.ndarray:
        asked = np.unique(self.question.candidates.users).tolist()
        digests = np.zeros((self.question.train.n_users, 2), dtype=np.uint64)
        for user in asked:
            text = "|".join((set_id, *history_codes(self._history(user), self.prompt.parts)))
            if self.prompt.shape == "user":  # the other candidates are part of the prompt
                others = [self._code(pair) for pair in self._group(user)]
                # A text may hold what stands between codes.
                text += "|" + (json.dumps(others) if self.prompt.reads_text else " ".join(map("/".join, others)))
            digests[user] = _digest(text)
        return digests

    def _item_digests(self) -> np.ndarray:
        by_code: dict[Code, int] = {}
        place = [by_code.setdefault(code, len(by_code)) for code in self._codes]
        digests = np.array([_digest("/".join(code)) for code in by_code], dtype=np.uint64).reshape(-1, 2)
        return digests[place]

    def _code(self, pair: int) -> Code:
        return self._codes[self.question.candidates.items[pair]]

    def _askable(self) -> np.ndarray:
        train, candidates = self.question.train, self.question.candidates
        found = np.zeros(len(candidates), dtype=bool)
        users, items = train.histories()
        for has_code in self._known:
            history = np.zeros(train.n_users, dtype=bool)
            history[users[has_code[items]]] = True
            found |= history[candidates.users] & has_code[candidates.items]
        return found


def _shown(question: Question, prompt: Prompt, max_characters: int) -> list[list[str]]:
    """Each part of the codes of all items; `none` for what the prompt does not show."""
    content = question.train.content
    if prompt.reads_text and content is None:
        raise ConfigError(
            "the prompt (dtlns_judge_prompt) shows what items say: set dtlns_text_fields to fields of the .item file, "
            "such as [title]"
        )
    if content is None or not prompt.reads_text:
        return [_codes(question.structure), _codes(question.semantic)]
    nothing = [NO_CODE] * question.train.n_items
    found = [_codes(question.views[view]) if view in prompt.shown else nothing for view in ("structure", "semantic")]
    return [*found, [text[:max_characters].rstrip() or NO_CODE for text in content.texts]]


def _codes(tree: ItemTree) -> list[str]:
    """Compact notation of every item's path: its digits, joined by dots where a digit has more than one figure."""
    joint = "" if tree.digits.max(initial=0) < 10 else "."
    texts: dict[bytes, str] = {}
    result = []
    for row in np.ascontiguousarray(tree.digits):
        content = row.tobytes()
        if content not in texts:
            texts[content] = joint.join(str(digit) for digit in row.tolist() if digit >= 0) or NO_CODE
        result.append(texts[content])
    return result


def _digest(text: str) -> tuple[int, int]:
    content = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(content[:8], "little"), int.from_bytes(content[8:], "little")


def _mix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One 128-bit key per pair of 128-bit digests, uint64 [n, 2]; not the same for swapped digests."""
    low = split_mix(first[:, 0] ^ split_mix(second[:, 0]))
    high = split_mix(first[:, 1] + split_mix(second[:, 1] ^ low))
    return np.stack([low, high], axis=1)
