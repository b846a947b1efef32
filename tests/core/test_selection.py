"""The hard negative is the candidate with the largest multi-view quality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from plain_python import path_similarity, random_paths

from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.negatives.choosing.adaptive import AHNS
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.choosing.hardest import DNS, DNSMN, MultiView
from recbole_dtlns.negatives.choosing.remembered import SRNS
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.samplers import make_sampler
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.numerics.schedule import Schedule
from recbole_dtlns.trees.item_tree import ItemTree

# Item 1 is the positive. In the structure tree 2 is its neighbour, in the semantic tree 3 is; 4 and 5 are far in both.
STRUCTURE = ["", "0-0", "0-0", "1-0", "1-1", "2-0"]
SEMANTIC = ["", "0-0", "1-0", "0-1", "1-1", "2-0"]


def view(paths: list[str]) -> TreeView:
    return TreeView(ItemTree.from_paths(paths), np.arange(len(paths)), "cpu")


def multi_view(alpha_structure: float, alpha_semantic: float, structure: list[str], semantic: list[str]) -> MultiView:
    sampler = MultiView(alpha_structure=alpha_structure, alpha_semantic=alpha_semantic)
    sampler.begin(SamplerContext(40, 40, "cpu", {"structure": view(structure), "semantic": view(semantic)}))
    return sampler


def chosen(
    scores: list[float], alpha_structure: float, alpha_semantic: float, candidates: tuple[int, ...] = (2, 3, 4, 5)
) -> int:
    sampler = multi_view(alpha_structure, alpha_semantic, STRUCTURE, SEMANTIC)
    one = torch.tensor([1])
    column = sampler.select(Choice(one, one, torch.tensor([candidates]), torch.tensor([scores])))
    return candidates[int(column)]


@pytest.mark.parametrize(
    ("scores", "alpha_structure", "alpha_semantic", "expected"),
    [
        ([0.0, 1.0, 5.0, 2.0], 0.0, 0.0, 4),  # score alone
        ([4.0, 1.0, 5.0, 0.0], 0.1, 0.0, 4),  # 0.8 + 0.1 < 1
        ([4.0, 1.0, 5.0, 0.0], 0.3, 0.0, 2),  # 0.8 + 0.3 > 1
        ([4.0, 4.5, 5.0, 0.0], 0.0, 0.3, 3),  # 0.9 + 0.3 * 0.5 > 1
        ([4.0, 4.5, 5.0, 0.0], 0.3, 0.3, 2),  # 0.8 + 0.3 > 0.9 + 0.15
        ([7.0, 7.0, 7.0, 7.0], 0.1, 0.3, 3),  # equal scores: the trees decide, 0.15 > 0.1
        ([7.0, 7.0, 7.0, 7.0], 0.0, 0.0, 2),  # nothing decides: the first
        ([-40.0, -10.0, -50.0, -50.0], 0.1, 0.3, 3),  # negative scores are scaled the same way
    ],
)
def test_known_hardest(scores: list[float], alpha_structure: float, alpha_semantic: float, expected: int) -> None:
    """Scores scaled to [0, 1] in the row, plus weighted closeness to the positive in each tree."""
    assert chosen(scores, alpha_structure, alpha_semantic) == expected


def test_scaling_is_per_row() -> None:
    """A user whose scores are a thousand times larger gets the same negative."""
    scores = [4.0, 1.0, 5.0, 0.0]
    assert chosen([1000 * score - 7 for score in scores], 0.3, 0.0) == chosen(scores, 0.3, 0.0) == 2


@pytest.mark.parametrize(("alpha_structure", "alpha_semantic"), [(0.0, 0.0), (0.1, 0.3), (0.0, 2.0), (2.0, 0.0)])
def test_rows_of_a_batch_are_the_formula(alpha_structure: float, alpha_semantic: float) -> None:
    """q_j written out in plain Python picks the same column, row by row."""
    random = np.random.default_rng(0)
    n_items, n_rows, n_candidates = 40, 60, 10
    structure, semantic = random_paths(n_items, 1), random_paths(n_items, 2)
    positives, candidates = random.integers(0, n_items, n_rows), random.integers(0, n_items, (n_rows, n_candidates))
    scores = random.standard_normal((n_rows, n_candidates)).round(2)
    expected = []
    for row, positive in enumerate(positives):
        low, high = scores[row].min(), scores[row].max()
        quality = [
            (scores[row, place] - low) / (high - low + 1e-8)
            + alpha_structure * path_similarity(structure[positive], structure[item])
            + alpha_semantic * path_similarity(semantic[positive], semantic[item])
            for place, item in enumerate(candidates[row])
        ]
        expected.append(int(np.argmax(quality)))
    sampler = multi_view(alpha_structure, alpha_semantic, structure, semantic)
    rows = torch.arange(n_rows)
    found = sampler.select(Choice(rows, torch.tensor(positives), torch.tensor(candidates), torch.tensor(scores)))
    assert found.tolist() == expected


def random_choice(rows: int = 40, n: int = 8, seed: int = 0) -> Choice:
    random = np.random.default_rng(seed)
    candidates = np.stack([random.permutation(np.arange(1, 40))[:n] for _ in range(rows)])
    return Choice(
        torch.arange(rows),
        torch.tensor(random.integers(1, 40, rows)),
        torch.tensor(candidates),
        torch.tensor(random.standard_normal((rows, n))),
        torch.tensor(random.standard_normal(rows)),
        torch.tensor(random.random(rows)),
    )


def named(name: str, **keys: Any) -> ItemSampler:
    """The sampler that a configuration names, with trees of random paths."""
    sampler = make_sampler(name, {"dns_top": 3, **keys})
    assert isinstance(sampler, ItemSampler)
    views = {tree: view(["", *random_paths(39, seed)]) for tree, seed in (("structure", 1), ("semantic", 2))}
    sampler.begin(SamplerContext(40, 40, "cpu", views))
    return sampler


def test_dns_takes_the_highest_score() -> None:
    choice = random_choice()
    assert named("dns").select(choice).tolist() == choice.scores.argmax(dim=1).tolist()


def test_dns_and_dtlns_without_tree_weights_are_one() -> None:
    """And so are dtlns and dns with the tree terms."""
    choice = random_choice()
    dns, dtlns = named("dns"), named("dtlns", alpha_structure=Schedule.constant(0), alpha_semantic=Schedule.constant(0))
    assert torch.equal(dns.select(choice), dtlns.select(choice))
    with_terms, whole = named("dns", tree_terms=True), named("dtlns")
    assert torch.equal(with_terms.select(choice), whole.select(choice))
    assert not torch.equal(whole.select(choice), dns.select(choice))


def test_rns_takes_what_was_drawn_and_asks_for_no_score() -> None:
    sampler = named("rns")
    assert not sampler.reads_scores
    assert sampler.select(random_choice(n=1)).tolist() == [0] * 40


def test_dns_mn_draws_uniformly_from_the_highest() -> None:
    """Each of the three highest of eight is taken equally often (chi-square), and no other ever."""
    random = np.random.default_rng(3)
    scores = torch.tensor(random.standard_normal((30_000, 8)))
    ones, uniform = torch.ones(30_000, dtype=torch.long), torch.tensor(random.random(30_000))
    choice = Choice(ones, ones, torch.ones(30_000, 8, dtype=torch.long), scores, uniform=uniform)
    column = named("dns_mn").select(choice)
    place = (scores > scores.gather(1, column[:, None])).sum(dim=1)
    counts = np.bincount(place.numpy(), minlength=8)
    assert counts[3:].sum() == 0
    assert ((counts[:3] - 10_000) ** 2 / 10_000).sum() < 13.8  # p = .001 at two degrees of freedom


@pytest.mark.parametrize(("uniform", "column"), [(0.0, 2), (0.34, 0), (0.67, 3), (1 - 2.0**-24, 3)])
def test_dns_mn_counts_from_the_hardest_and_never_past_the_last(uniform: float, column: int) -> None:
    """Thrice the largest number below one is three in the precision of a float."""
    one = torch.tensor([1])
    scores = torch.tensor([[3.0, 1.0, 4.0, 2.0]])
    choice = Choice(one, one, torch.tensor([[5, 6, 7, 8]]), scores, uniform=torch.tensor([uniform]))
    assert named("dns_mn").select(choice).tolist() == [column]


def test_only_rules_that_look_at_the_positives_score_ask_for_it() -> None:
    """Every score that is asked for costs time."""
    asking = {name: named(name).reads_positive_scores for name in ("rns", "dns", "dns_mn", "dtlns", "ahns")}
    assert asking == {"rns": False, "dns": False, "dns_mn": False, "dtlns": False, "ahns": True}


def test_what_is_chosen_lies_where_the_candidates_do() -> None:
    """On another device than the default one."""
    elsewhere = torch.ones(2, 3, dtype=torch.long, device="meta")
    chosen = named("rns").select(Choice(elsewhere[:, 0], elsewhere[:, 0], elsewhere, elsewhere.float()))
    assert chosen.device == elsewhere.device and chosen.dtype == torch.long and chosen.shape == (2,)


def test_ahns_is_the_formula() -> None:
    """argmin of the distance to beta * (s_p + alpha)^(power + 1), in plain Python; a base below .05 counts as .05."""
    choice = random_choice(rows=200)
    assert choice.positive_scores is not None and (choice.positive_scores < -0.95).any()
    alpha, beta, power = 1.0, 0.1, -2.0
    expected = []
    for scores, positive in zip(choice.scores.tolist(), choice.positive_scores.tolist(), strict=True):
        target = beta * max(positive + alpha, 0.05) ** (power + 1)
        expected.append(int(np.argmin([abs(score - target) for score in scores])))
    sampler = named("ahns")
    assert sampler.reads_positive_scores
    assert sampler.select(choice).tolist() == expected


def test_ahns_gives_well_learnt_positives_easier_negatives() -> None:
    sampler = AHNS(alpha=1.0, beta=1.0, power=-2.0)
    sampler.begin(SamplerContext(2, 4, "cpu"))
    scores = torch.tensor([[0.1, 0.5, 1.0]] * 2)
    rows = torch.tensor([1, 1])
    choice = Choice(rows, rows, torch.tensor([[1, 2, 3]] * 2), scores, torch.tensor([0.0, 9.0]))
    assert sampler.select(choice).tolist() == [2, 0]


def test_tree_terms_may_grow_with_the_epoch() -> None:
    """Halfway from 0 to a weight that decides, and at it."""
    growing = Schedule.read({0: 0.0, 10: 100.0})
    choice = random_choice()
    sampler = named("dtlns", alpha_structure=growing, alpha_semantic=growing)
    by_epoch = [sampler.select(replace(choice, epoch=epoch)) for epoch in (0, 5, 30)]
    constant = named("dtlns", alpha_structure=50, alpha_semantic=50).select(choice)
    assert torch.equal(by_epoch[0], named("dns").select(choice))
    assert torch.equal(by_epoch[1], constant) and not torch.equal(by_epoch[0], by_epoch[1])
    assert torch.equal(
        by_epoch[2], named("dtlns", alpha_structure=growing, alpha_semantic=growing).select(replace(choice, epoch=10))
    )


def test_the_text_tree_counts_by_its_own_weight() -> None:
    """Item 4 says what the positive says, and no other tree knows it."""
    sampler = MultiView(alpha_structure=0.0, alpha_semantic=0.0, alpha_text=0.3)
    trees = {"structure": view(STRUCTURE), "semantic": view(SEMANTIC), "text": view(["", "0-0", "1", "2", "0-0", "3"])}
    sampler.begin(SamplerContext(40, 40, "cpu", trees))
    one, scores = torch.tensor([1]), torch.tensor([[5.0, 0.0, 4.0, 0.0]])
    assert int(sampler.select(Choice(one, one, torch.tensor([[2, 3, 4, 5]]), scores))) == 2


def test_dns_mn_may_take_the_best_of_as_many_as_there_are() -> None:
    sampler = DNSMN(top=5)
    sampler.check_candidates(5)
    with pytest.raises(ConfigError, match=r"dtlns_dns_top \(5\) must not exceed dtlns_n_candidates \(4\)"):
        sampler.check_candidates(4)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.0), (5, 0.5), (10, 1.0), (40, 1.0)])
def test_srns_weighs_the_variation_over_epochs_by_a_ramp(epoch: int, share: float) -> None:
    """P_j plus alpha * min(1, epoch / ramp) * the deviation of P_j over the past epochs."""
    scores, positive = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([0.25])
    past = torch.randn(3, 1, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.1], [0.2], [0.3]])
    choice = Choice(
        torch.tensor([1]),
        torch.tensor([1]),
        torch.tensor([[2, 3, 4]]),
        scores,
        positive,
        epoch=epoch,
        past=lambda _: past,
    )
    of_past = torch.sigmoid(past[0] - past[1][:, :, None])
    expected = torch.sigmoid(scores - 0.25) + 4.0 * share * of_past.std(dim=0)
    torch.testing.assert_close(SRNS(alpha=4.0, ramp=10).hardness(choice), expected)


def test_the_share_of_changed_choices_is_counted() -> None:
    """By how often the hardest candidate with the tree terms is another than without, and from zero after reading."""
    choice, sampler = random_choice(), named("dtlns")
    changed = sampler.select(choice) != choice.scores.argmax(dim=1)
    assert 0 < changed.float().mean() < 1
    assert sampler.facts() == {"choices changed by the trees": pytest.approx(float(changed.float().mean()))}
    assert sampler.facts() == {}


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (MultiView(), "asks for the item tree 'structure', and there is none: set reads_trees = True on its class"),
        (DNS(tree_terms=True), "asks for the item tree 'structure'"),
    ],
)
def test_a_sampler_that_lacks_its_trees_says_so(sampler: ItemSampler, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        sampler.begin(SamplerContext(40, 40, "cpu"))


@pytest.mark.parametrize(
    ("sampler", "message"), [(AHNS(), "set reads_positive_scores = True"), (DNSMN(), "has no uniform numbers")]
)
def test_a_choice_that_lacks_what_a_rule_reads_says_so(sampler: ItemSampler, message: str) -> None:
    sampler.begin(SamplerContext(40, 40, "cpu"))
    with pytest.raises(ContractError, match=message):
        sampler.select(replace(random_choice(), positive_scores=None, uniform=None))
