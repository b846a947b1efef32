"""What every sampler must hold to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch

from recbole_dtlns.conformance.given_trees import ITEMS, USERS, random_trees, tree_item
from recbole_dtlns.conformance.rules import require
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerJoin, VectorSampler

AnySampler = ItemSampler | VectorSampler
MakeSampler = Callable[[], AnySampler]

_DIMENSION = 8


def chooses_one_candidate_per_row(make: MakeSampler) -> None:
    """Columns are int64 [B] and lie within the candidates, for 1, 2 and 10 candidates and scores of any float type.

    With one candidate there is nothing to choose, so the sampler gives what uniform sampling gives.
    """
    for n in (1, 2, 10):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            for device in _devices():
                sampler = _begun(make, device)
                choice = _choice(sampler, n, device, dtype)
                if isinstance(sampler, VectorSampler):
                    if dtype == torch.float32:
                        _check_vectors(sampler, choice)
                    continue
                column = sampler.select(choice)
                require(column.dtype == torch.int64, f"select gave {column.dtype}, not int64")
                require(column.shape == choice.users.shape, f"select gave the shape {tuple(column.shape)}, not [B]")
                inside = (column >= 0) & (column < choice.candidates.shape[1])
                require(bool(inside.all()), "select gave a column that no candidate stands in")
                require(column.device.type == torch.device(device).type, "select changed the device")
                chosen = choice.candidates.gather(1, column[:, None])
                if n == 1:
                    require(torch.equal(chosen, choice.candidates[:, -1:]), "there was one candidate, and another came")


def a_batch_is_its_rows_one_by_one(make: MakeSampler) -> None:
    """What a row gets does not depend on the rows around it."""
    choice = _choice(_begun(make), 10)
    whole = _chosen(_seeded(make), choice)
    for row in range(len(choice.users)):
        alone = _chosen(_seeded(make), _row(choice, row))
        require(torch.equal(alone[0], whole[row]), f"row {row} of a batch alone gets another negative")


def the_same_choice_has_the_same_answer(make: MakeSampler) -> None:
    """Two samplers made alike choose alike: all randomness comes from the choice, or from torch's generator."""
    answers = []
    for _ in range(2):
        sampler = _seeded(make)
        torch.manual_seed(1)
        answers.append([_chosen(sampler, _choice(sampler, 10, seed=seed)) for seed in range(3)])
    require(all(map(torch.equal, *answers)), "the same choices were answered differently")


def proposes_only_what_was_drawn(make: MakeSampler) -> None:
    """An item proposed for a user was drawn for that user, now or before: so it is neither observed nor forbidden."""
    sampler = _begun(make)
    drawn_for: dict[int, set[int]] = {}
    for seed in range(4):
        choice = _choice(sampler, 6, seed=seed, propose=False)
        for user, items in zip(choice.users.tolist(), choice.candidates.tolist(), strict=True):
            drawn_for.setdefault(user, set()).update(items)
        proposed = sampler.propose(choice.users, choice.candidates)
        for user, items in zip(choice.users.tolist(), proposed.tolist(), strict=True):
            require(set(items) <= drawn_for[user], f"user {user} was offered an item that was never drawn for them")
        if isinstance(sampler, ItemSampler):
            sampler.select(_choice(sampler, 6, seed=seed))


def leaves_the_choice_alone(make: MakeSampler) -> None:
    """Nothing that is handed in is written to, and no gradient passes through the choice of an id."""
    sampler = _begun(make)
    choice = _choice(sampler, 10)
    choice = replace(choice, scores=choice.scores.requires_grad_())
    before = {field.name: _copy(getattr(choice, field.name)) for field in fields(choice)}
    if isinstance(sampler, VectorSampler):
        sampler.negatives(_layer_choice(choice))
    else:
        column = sampler.select(choice)
        require(not column.requires_grad, "the chosen column carries a gradient")
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            require(torch.equal(value, getattr(choice, name)), f"'{name}' of the choice was written to")


def state_can_be_saved(make: MakeSampler) -> None:
    """A sampler that goes on from a saved state answers as the one that was saved."""
    first, second = _seeded(make), _seeded(make)
    for seed in range(2):
        _chosen(first, _choice(first, 6, seed=seed))
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    answers = [_chosen(sampler, _choice(sampler, 6, seed=9)) for sampler in (first, second)]
    require(torch.equal(*answers), "after load_state_dict the sampler answers otherwise")


SAMPLER_CHECKS: tuple[Callable[[MakeSampler], None], ...] = (
    chooses_one_candidate_per_row,
    a_batch_is_its_rows_one_by_one,
    the_same_choice_has_the_same_answer,
    proposes_only_what_was_drawn,
    leaves_the_choice_alone,
    state_can_be_saved,
)


def _devices() -> Iterator[str]:
    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"


def _context(device: str = "cpu") -> SamplerContext:
    views = {name: TreeView(tree, tree_item(), device) for name, tree in random_trees().items()}
    return SamplerContext(USERS, ITEMS, device, views, _DIMENSION)


def _seeded(make: MakeSampler) -> AnySampler:
    torch.manual_seed(0)
    return _begun(make)


def _begun(make: MakeSampler, device: str = "cpu") -> AnySampler:
    sampler = make()
    sampler.begin(_context(device))
    return sampler


def _choice(
    sampler: AnySampler,
    n: int,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    propose: bool = True,
) -> Choice:
    random = torch.Generator().manual_seed(seed)
    users = torch.arange(1, USERS)
    positives = torch.randint(1, ITEMS, users.shape, generator=random)
    drawn = torch.stack([torch.randperm(ITEMS - 1, generator=random)[:n] + 1 for _ in users])
    uniform = torch.rand(users.shape, generator=random)
    candidates = sampler.propose(users.to(device), drawn.to(device)) if propose else drawn
    every = torch.randn(USERS, ITEMS, generator=random).to(dtype)  # of (user, item): items have one score each
    scores = every[users].gather(1, candidates.cpu())

    def past(items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(0, *items.shape, device=device), torch.zeros(0, len(items), device=device)

    return Choice(
        users.to(device),
        positives.to(device),
        candidates,
        scores.to(device),
        every[users, positives].to(device),
        uniform.to(device),
        epoch=1,
        past=past,
    )


def _layer_choice(choice: Choice) -> LayerChoice:
    random = torch.Generator().manual_seed(0)
    tables = [torch.randn(size, _DIMENSION, generator=random) for size in (USERS, USERS, ITEMS, ITEMS)]
    tables = [table.to(choice.users.device).requires_grad_() for table in tables]
    mixing = torch.rand(USERS, 2, generator=random).to(choice.users.device)[choice.users]
    assert choice.uniform is not None
    return LayerChoice(
        choice.users,
        choice.positives,
        choice.candidates,
        tables[:2],
        tables[2:],
        "mean",
        mixing,
        choice.uniform,
        1,
        choice.past,
    )


def _check_vectors(sampler: VectorSampler, choice: Choice) -> None:
    joins: tuple[LayerJoin, ...] = ("mean", "concat")
    for join in joins:
        layered = replace(_layer_choice(choice), join=join)
        made = sampler.negatives(layered)
        rows = len(choice.users)
        shapes = [tuple(layer.shape) for layer in made.layers]
        require(shapes == [(rows, _DIMENSION)] * 2, f"vectors have the shapes {shapes}, not [B, d] for every layer")
        require(
            tuple(made.items.shape) == (rows, 2), f"items have the shape {tuple(made.items.shape)}, not [B, layers]"
        )
        drawn = (made.items[:, :, None] == choice.candidates[:, None, :]).any(dim=2)
        require(bool(drawn.all()), "a negative was made from an item that was not drawn")
        require(made.loss is None or made.loss.shape == (rows,), "the loss has not one entry per row")
        torch.stack(made.layers).sum().backward()
        learns = all(bool(table.grad is not None and table.grad.any()) for table in layered.item_layers)
        require(learns, "no gradient reaches the item embeddings through the negative")


def _chosen(sampler: AnySampler, choice: Choice) -> torch.Tensor:
    """What identifies the negative of every row: ids, or the items of every layer."""
    if isinstance(sampler, VectorSampler):
        return sampler.negatives(_layer_choice(choice)).items
    return choice.candidates.gather(1, sampler.select(choice)[:, None])


def _row(choice: Choice, row: int) -> Choice:
    cut: dict[str, Any] = {
        field.name: value[row : row + 1]
        for field in fields(choice)
        if isinstance(value := getattr(choice, field.name), torch.Tensor)
    }
    return replace(choice, **cut)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
