"""Every built-in sampler and pool passes the checks that are given to authors of others, and the checks do fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from recbole_dtlns.conformance import POOL_CHECKS, SAMPLER_CHECKS, ConformanceError, samplers
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.pools.contract import PoolContext
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.pools.uniform import UniformPool
from recbole_dtlns.negatives.samplers import SAMPLERS, make_sampler

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in SAMPLERS.names()},
    **{f"{name}+mixing": (name, {"mixing": True}) for name in ("dtlns", "dns", "dns_mn", "ahns")},
    **{f"{name}+trees": (name, {"tree_terms": True}) for name in ("dns", "dns_mn", "ahns", "srns", "mixgcf")},
}


def factory(name: str) -> Callable[..., Any]:
    sampler, keys = VARIANTS[name]

    def make() -> Any:
        return make_sampler(sampler, keys, mixing=keys.get("mixing", False))

    return make


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("check", SAMPLER_CHECKS, ids=lambda check: check.__name__)
def test_built_in_samplers_conform(check: Callable[..., None], name: str) -> None:
    check(factory(name))


@pytest.mark.parametrize("name", POOLS.names())
@pytest.mark.parametrize("check", POOL_CHECKS, ids=lambda check: check.__name__)
def test_built_in_pools_conform(check: Callable[..., None], name: str) -> None:
    check(lambda: POOLS.make(name, {"pool_file": "lists.tsv"}))


class Easiest(ItemSampler):
    """A sampler of somebody else's, whole."""

    def select(self, choice: Choice) -> torch.Tensor:
        return choice.scores.argmin(dim=1)


@pytest.mark.parametrize("check", SAMPLER_CHECKS, ids=lambda check: check.__name__)
def test_a_sampler_of_one_line_conforms(check: Callable[..., None]) -> None:
    check(Easiest)


class OutOfRange(ItemSampler):
    def select(self, choice: Choice) -> torch.Tensor:
        return torch.full_like(choice.users, choice.candidates.shape[1])


class Floats(ItemSampler):
    def select(self, choice: Choice) -> torch.Tensor:
        return choice.scores.argmax(dim=1).float()


class LooksAround(ItemSampler):
    """The hardest row of the batch decides for all."""

    def select(self, choice: Choice) -> torch.Tensor:
        return choice.scores.argmax(dim=1).amax().expand(len(choice.users))


class OwnDice(ItemSampler):
    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng()

    def select(self, choice: Choice) -> torch.Tensor:
        return torch.as_tensor(self.random.integers(0, choice.candidates.shape[1], len(choice.users)))


class OffersAnything(ItemSampler):
    def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return drawn % 50 + 1

    def select(self, choice: Choice) -> torch.Tensor:
        return choice.scores.argmax(dim=1)


class Scribbles(ItemSampler):
    def select(self, choice: Choice) -> torch.Tensor:
        with torch.no_grad():
            choice.scores.neg_()
        return choice.scores.argmax(dim=1)


class Forgets(ItemSampler):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def select(self, choice: Choice) -> torch.Tensor:
        self.calls += 1
        return torch.full_like(choice.users, (self.calls - 1) % choice.candidates.shape[1])


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (OutOfRange, samplers.chooses_one_candidate_per_row, "no candidate stands in"),
        (Floats, samplers.chooses_one_candidate_per_row, "not int64"),
        (LooksAround, samplers.a_batch_is_its_rows_one_by_one, "alone gets another negative"),
        (OwnDice, samplers.the_same_choice_has_the_same_answer, "answered differently"),
        (OffersAnything, samplers.proposes_only_what_was_drawn, "never drawn for them"),
        (Scribbles, samplers.leaves_the_choice_alone, "was written to"),
        (Forgets, samplers.state_can_be_saved, "answers otherwise"),
    ],
)
def test_broken_samplers_are_found(broken: type[ItemSampler], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


class DrawsBlocked(UniformPool):
    def begin(self, context: PoolContext) -> None:
        self.n_items = context.n_items

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return 1 + (uniform * (self.n_items - 1)).astype(np.int64)


class DrawsByItself(UniformPool):
    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return super().draw(users, positives, np.random.default_rng().random(uniform.shape))


@pytest.mark.parametrize(
    ("broken", "check"), list(zip([DrawsBlocked, DrawsByItself], POOL_CHECKS, strict=True)), ids=["blocked", "dice"]
)
def test_broken_pools_are_found(broken: type[UniformPool], check: Callable[..., None]) -> None:
    with pytest.raises(ConformanceError):
        check(broken)
