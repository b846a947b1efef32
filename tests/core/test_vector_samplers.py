"""Samplers with more to them than a choice by score: the memory of SRNS, mixing, the gates of DENS."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.choosing.remembered import SRNS
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.products import candidate_scores
from recbole_dtlns.negatives.samplers import make_sampler
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.negatives.vectors.contract import LayerChoice
from recbole_dtlns.negatives.vectors.disentangled import DENS
from recbole_dtlns.negatives.vectors.mixing import MixGCF
from recbole_dtlns.trees.item_tree import ItemTree

USERS, ITEMS, D = 8, 20, 4


def memory_sampler(temperature: float = 10.0, size: int = 3, users: int = USERS) -> SRNS:
    sampler = SRNS(memory=size, alpha=5.0, ramp=4, temperature=temperature)
    sampler.begin(SamplerContext(users, ITEMS, "cpu"))
    return sampler


def gates(gamma: float = 0.3, warmup: int = 10) -> DENS:
    sampler = DENS(gamma=gamma, warmup=warmup)
    sampler.begin(SamplerContext(USERS, ITEMS, "cpu", dimension=D))
    return sampler


def mixgcf() -> MixGCF:
    sampler = MixGCF()
    sampler.begin(SamplerContext(USERS, ITEMS, "cpu"))
    return sampler


def choice_for(sampler: SRNS, users: list[int], drawn: torch.Tensor, epoch: int = 2, past: Any = None) -> Choice:
    random = torch.Generator().manual_seed(1)
    every = torch.randn(USERS, ITEMS, generator=random)
    who = torch.tensor(users)
    candidates = sampler.propose(who, drawn)
    positives = torch.ones_like(who)
    return Choice(
        who, positives, candidates, every[who].gather(1, candidates), every[who, positives], None, epoch, past
    )


@pytest.mark.parametrize(("epoch", "kept"), [(0, 5), (2, 5), (2, 2), (2, 1), (9, 3)])
def test_srns_is_the_formula(epoch: int, kept: int) -> None:
    """P_j + alpha min(1, t/T0) std(P_j), in plain Python; one past epoch varies in nothing."""
    sampler = memory_sampler()
    sampler.memory[1:4] = torch.tensor([[2, 3, 4], [5, 6, 7], [8, 9, 10]])
    random = np.random.default_rng(0)
    past_scores, past_positive = random.standard_normal((kept, 3, 3)), random.standard_normal((kept, 3))

    def past(items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert items.tolist() == sampler.memory[1:4].tolist(), "asked about the memory alone"
        return torch.tensor(past_scores), torch.tensor(past_positive)

    choice = choice_for(sampler, [1, 2, 3], torch.randint(11, 20, (3, 6)), epoch, past)
    expected = []
    for row in range(3):
        assert choice.positive_scores is not None
        hardness = []
        for place in range(3):
            value = 1 / (1 + math.exp(float(choice.positive_scores[row] - choice.scores[row, place])))
            history = [1 / (1 + math.exp(past_positive[t, row] - past_scores[t, row, place])) for t in range(kept)]
            spread = float(np.std(history, ddof=1)) if kept > 1 else 0.0
            hardness.append(value + 5.0 * min(1, epoch / 4) * spread)
        expected.append(int(np.argmax(hardness)))
    assert sampler.select(choice).tolist() == expected


def test_the_memory_keeps_what_scores_best_at_low_temperature() -> None:
    """Of memory and drawn items, without repeating a place; users not in the batch keep theirs."""
    sampler = memory_sampler(temperature=1e-4)
    sampler.memory[:] = torch.arange(1, 4)
    choice = choice_for(sampler, [2, 5], torch.tensor([[11, 12, 13, 14], [15, 16, 17, 18]]))
    sampler.select(choice)
    for row, user in enumerate((2, 5)):
        best = choice.candidates[row][choice.scores[row].topk(3).indices]
        assert sampler.memory[user].tolist() == best.tolist()
    assert sampler.memory[1].tolist() == [1, 2, 3]


def test_a_user_twice_in_a_batch_is_resampled_once() -> None:
    """From the first of their rows."""
    sampler = memory_sampler()
    choice = choice_for(sampler, [4, 4], torch.tensor([[11, 12], [13, 14]]))
    assert choice.candidates.tolist() == [[11, 12, 11, 11, 12], [13, 14, 13, 13, 14]], "an empty memory takes the drawn"
    sampler.select(choice)
    assert set(sampler.memory[4].tolist()) <= {11, 12}


def test_items_stay_with_the_probability_of_a_softmax() -> None:
    """One place, three items that score 0, 1 and 2: chi-square against exp(s) over their sum."""
    torch.manual_seed(0)
    users = torch.arange(20_000)
    sampler = memory_sampler(1.0, 1, 20_000)
    sampler.memory[:] = 1
    candidates = sampler.propose(users, torch.tensor([[2, 3]]).repeat(20_000, 1))
    scores = torch.tensor([[0.0, 1.0, 2.0]]).repeat(20_000, 1)
    sampler.select(Choice(users, users, candidates, scores, torch.zeros(20_000)))
    expected = 20_000 * torch.softmax(scores[0], dim=0)
    counts = torch.bincount(sampler.memory.flatten(), minlength=4)[1:]
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # p = .001 at two degrees of freedom


@pytest.mark.parametrize("tree_terms", [False, True])
def test_tree_terms_decide_what_the_memory_and_the_mixture_call_hard(tree_terms: bool) -> None:
    """Where they are asked for, the item in the positive's leaf; else the one that scores highest."""
    near = TreeView(ItemTree.from_paths(["", "0", "1", "0", "2"]), np.arange(5), "cpu")
    flat = {"srns_memory": 3, "srns_alpha": 0.0, "srns_ramp": 1, "srns_temperature": 1.0, "tree_terms": tree_terms}
    flat |= {"alpha_structure": 9.0, "alpha_semantic": 9.0}
    context = SamplerContext(USERS, ITEMS, "cpu", {"structure": near, "semantic": near})
    one, hardest = torch.tensor([1]), 3 if tree_terms else 2

    memory = make_sampler("srns", flat)
    assert isinstance(memory, ItemSampler)
    memory.begin(context)
    candidates = memory.propose(one, torch.tensor([[2, 3, 4]]))
    choice = Choice(one, one, candidates, torch.tensor([[3.0, 2.0, 1.0] * 2]), torch.zeros(1))
    assert int(candidates[0, memory.select(choice)]) == hardest

    items = torch.tensor([[0.0], [9.0], [3.0], [2.0], [1.0]])
    mixture = make_sampler("mixgcf", flat)
    assert isinstance(mixture, MixGCF)
    mixture.begin(context)
    layers = LayerChoice(
        one, one, torch.tensor([[2, 3, 4]]), [torch.ones(2, 1)], [items], "mean", torch.tensor([[0.5]]), torch.zeros(1)
    )
    assert mixture.negatives(layers).items.tolist() == [[hardest]]
    for sampler in (memory, mixture):
        assert sampler.facts() == ({"choices changed by the trees": 1.0} if tree_terms else {})


def test_at_high_temperature_every_item_may_stay() -> None:
    """Without replacement, every one of seven items is kept three times in seven."""
    torch.manual_seed(0)
    sampler = memory_sampler(1e6, 3, 7000)
    sampler.memory[:] = torch.tensor([1, 2, 3])
    users = torch.arange(7000)
    drawn = torch.tensor([4, 5, 6, 7]).repeat(7000, 1)
    candidates = sampler.propose(users, drawn)
    sampler.select(Choice(users, users, candidates, torch.randn(7000, 7), torch.zeros(7000)))
    assert all(len(set(row)) == 3 for row in sampler.memory.tolist())
    counts = torch.bincount(sampler.memory.flatten(), minlength=8)[1:]
    assert ((counts - 3000.0) ** 2 / 3000).sum() < 22.5  # p = .001 at six degrees of freedom


def test_a_memory_is_made_by_its_settings() -> None:
    """No two of them are equal, so one that is read in place of another shows."""
    sampler = make_sampler("srns", {"srns_memory": 3, "srns_alpha": 5.5, "srns_ramp": 7, "srns_temperature": 11.0})
    assert isinstance(sampler, SRNS)
    sampler.begin(SamplerContext(USERS, ITEMS, "cpu"))
    assert (sampler.config.alpha, sampler.config.ramp, sampler.config.temperature) == (5.5, 7, 11.0)
    assert sampler.memory.shape == (USERS, 3) and not sampler.memory.any()
    assert sampler.memory.dtype == torch.long
    assert sampler.reads_scores and sampler.reads_positive_scores and sampler.past_epochs == 5
    assert sampler.facts() == {}


@pytest.mark.parametrize(("size", "drawn"), [(5, 2), (4, 4), (3, 7), (1, 1)])
def test_empty_places_of_a_memory_are_filled_with_what_was_drawn_in_turn(size: int, drawn: int) -> None:
    """And what is remembered stays where it is, before what was drawn."""
    sampler = memory_sampler(size=size)
    sampler.memory[2, 0] = 9
    items = torch.arange(11, 11 + drawn)[None].repeat(2, 1)
    filled = [11 + place % drawn for place in range(size)]
    expected = [[*filled, *items[0].tolist()], [9, *filled[1:], *items[0].tolist()]]
    assert sampler.propose(torch.tensor([4, 2]), items).tolist() == expected


def test_a_saved_memory_is_the_same_memory() -> None:
    sampler, other = memory_sampler(), memory_sampler()
    sampler.memory[3] = torch.tensor([5, 6, 7])
    assert set(sampler.state_dict()) == {"memory"}
    other.load_state_dict(sampler.state_dict())
    assert torch.equal(other.memory, sampler.memory)


def layer_choice(join: Any = "mean", epoch: int = 1, layers: int = 2) -> LayerChoice:
    random = torch.Generator().manual_seed(0)
    users = [torch.randn(USERS, D, generator=random, requires_grad=True) for _ in range(layers)]
    items = [torch.randn(ITEMS, D, generator=random, requires_grad=True) for _ in range(layers)]
    who = torch.tensor([1, 2, 3, 4])
    candidates = torch.stack([torch.randperm(18, generator=random)[:5] + 2 for _ in who])
    mixing = torch.rand(4, layers, generator=random)
    return LayerChoice(who, torch.ones_like(who), candidates, users, items, join, mixing, torch.zeros(4), epoch)


def numbers(values: torch.Tensor) -> np.ndarray:
    return values.detach().numpy()


@pytest.mark.parametrize("join", ["mean", "concat"])
def test_mixgcf_is_the_formula(join: str) -> None:
    """Per layer the candidate that is hardest once mixed, by the user's mean (or the layer's own) vector."""
    choice = layer_choice(join)
    made = mixgcf().negatives(choice)
    for row in range(4):
        user_layers = [numbers(table)[int(choice.users[row])] for table in choice.user_layers]
        for layer, table in enumerate(map(numbers, choice.item_layers)):
            user = np.mean(user_layers, axis=0) if join == "mean" else user_layers[layer]
            share = float(choice.mixing[row, layer])
            mixed = {j: share * table[1] + (1 - share) * table[j] for j in choice.candidates[row].tolist()}
            hardest = max(mixed, key=lambda j: float(user @ mixed[j]))
            assert int(made.items[row, layer]) == hardest
            np.testing.assert_allclose(numbers(made.layers[layer])[row], mixed[hardest], rtol=1e-5)


def test_mixing_has_a_gradient_for_the_positive_and_the_chosen_alone() -> None:
    choice = layer_choice()
    made = mixgcf().negatives(choice)
    torch.stack(made.layers).sum().backward()
    for layer, table in enumerate(choice.item_layers):
        assert table.grad is not None
        reached = set(torch.nonzero(table.grad.abs().sum(dim=1)).flatten().tolist())
        assert reached == {1, *made.items[:, layer].tolist()}
    assert all(table.grad is None for table in choice.user_layers)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("join", ["mean", "concat"])
@pytest.mark.parametrize(("epoch", "kept"), [(0, 1.0), (5, 0.5), (10, 0.0), (99, 0.0)])
def test_dens_is_the_formula(join: str, epoch: int, kept: float) -> None:
    """Gates, choice per layer and the four-term loss, in NumPy."""
    torch.manual_seed(0)
    sampler = gates()
    for gate in sampler.gates.values():
        torch.nn.init.normal_(gate.bias)
    choice = layer_choice(join, epoch)
    made = sampler.negatives(choice)

    def gate(name: str, x: np.ndarray) -> np.ndarray:
        layer = sampler.gates[name]
        return x @ numbers(layer.weight).T + numbers(layer.bias)

    def joined(layers: list[np.ndarray]) -> np.ndarray:
        return np.mean(layers, axis=0) if join == "mean" else np.concatenate(layers)

    assert made.loss is not None
    for row in range(4):
        parts: dict[str, list[np.ndarray]] = {name: [] for name in ("u", "p_r", "p_ir", "j_r", "j_ir")}
        for layer in range(2):
            table = numbers(choice.item_layers[layer])
            u, p = numbers(choice.user_layers[layer])[int(choice.users[row])], table[1]
            p_r = p * sigmoid(gate("item", p) + gate("user", u))
            relevant = {
                j: table[j] * sigmoid(gate("neg", table[j]) + gate("pos", p_r)) for j in choice.candidates[row].tolist()
            }
            hardest = max(relevant, key=lambda j: float(u @ (kept * table[j] - relevant[j])))
            assert int(made.items[row, layer]) == hardest
            np.testing.assert_allclose(numbers(made.layers[layer])[row], table[hardest], rtol=1e-5)
            j_r = relevant[hardest]
            for name, value in zip(parts, (u, p_r, p - p_r, j_r, table[hardest] - j_r), strict=True):
                parts[name].append(value)
        s = {name: float(joined(parts["u"]) @ joined(parts[name])) for name in ("p_r", "p_ir", "j_r", "j_ir")}
        pairs = (("p_r", "p_ir"), ("j_ir", "j_r"), ("p_r", "j_r"), ("j_ir", "p_ir"))
        expected = 0.3 * np.mean([math.log1p(math.exp(s[low] - s[high])) for high, low in pairs])
        assert float(made.loss[row].detach()) == pytest.approx(expected, rel=1e-4)


def test_gates_are_made_by_their_settings_and_begin_without_bias() -> None:
    sampler = make_sampler("dens", {"dens_gamma": 0.7, "dens_warmup": 13})
    assert isinstance(sampler, DENS)
    sampler.begin(SamplerContext(USERS, ITEMS, "cpu", dimension=D))
    assert (sampler.dimension, sampler.config.gamma, sampler.config.warmup) == (D, 0.7, 13)
    assert set(sampler.gates) == {"item", "user", "neg", "pos"}
    bound = math.sqrt(6 / (D + D))  # of Glorot's uniform distribution
    for gate in sampler.gates.values():
        assert (
            gate.weight.shape == (D, D) and gate.weight.abs().max() <= bound and gate.weight.unique().numel() == D * D
        )
        assert not gate.bias.any()


@pytest.mark.parametrize("lengths", [(4, 8), (8, 8)])
def test_gates_of_one_length_refuse_layers_of_another(lengths: tuple[int, ...]) -> None:
    """With the lengths that there are, and the one there should be."""
    choice = layer_choice()
    tables = [torch.zeros(ITEMS, length) for length in lengths]
    broken = replace(choice, item_layers=tables)
    named = ", ".join(map(str, sorted(set(lengths))))
    with pytest.raises(ConfigError, match=f"the embedding's 4, and those here are {named} long"):
        gates().negatives(broken)


def test_the_gates_learn_from_their_loss() -> None:
    torch.manual_seed(0)
    sampler = gates()
    loss = sampler.negatives(layer_choice()).loss
    assert loss is not None and sampler.module is sampler.gates
    loss.sum().backward()
    assert all(gate.weight.grad is not None and gate.weight.grad.any() for gate in sampler.gates.values())


def test_gates_need_the_length_of_an_embedding() -> None:
    with pytest.raises(ContractError, match="gates of the model's embedding_size, and it has none"):
        DENS().begin(SamplerContext(USERS, ITEMS, "cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 15, 30])
def test_scores_of_candidates_are_products(dtype: torch.dtype, n: int) -> None:
    """Candidates in any order, more than once, and more of them than there are items."""
    random = torch.Generator().manual_seed(0)
    users, items = (torch.randn(size, D, generator=random).to(dtype) for size in (50, ITEMS))
    candidates = torch.randint(0, ITEMS, (50, n), generator=random)
    found = candidate_scores(users.requires_grad_(), items, candidates)
    assert found.dtype == dtype and not found.requires_grad
    with torch.no_grad():
        exact = [[users[row].double() @ items[j].double() for j in candidates[row]] for row in range(50)]
    assert torch.allclose(found.float(), torch.tensor(exact).float(), atol=5e-2 if dtype == torch.bfloat16 else 1e-5)
