"""Generated negatives: found by pair in every form, named by the rule as plain Python names them, and learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from block_data import block_interactions

from recbole_dtlns.conformance import SAMPLER_CHECKS, block_of
from recbole_dtlns.conformance.blocks import block_content
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.generation import GenerationTask, matching
from recbole_dtlns.generation.projection import Projection
from recbole_dtlns.generation.rule import Rule
from recbole_dtlns.guidance.generated import GeneratedNegatives, JoinedVectors, MatchedItems, VectorsByPair, noise
from recbole_dtlns.losses.ranking import hinge
from recbole_dtlns.negatives.choosing.first_drawn import FirstDrawn
from recbole_dtlns.negatives.choosing.hardest import DNS
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.vectors.chosen import ChosenVectors
from recbole_dtlns.negatives.vectors.contract import LayerChoice
from recbole_dtlns.negatives.vectors.mixing import MixGCF
from recbole_dtlns.negatives.vectors.semantic import SemanticMixing
from recbole_dtlns.numerics.factors import unit_rows


@pytest.fixture
def train() -> TrainInteractions:
    return block_interactions()


def task_of(train: TrainInteractions, hard: int = 4) -> GenerationTask:
    """False negatives are each user's first missing items of the block; hard are items of the next block."""
    vectors = unit_rows(block_content(train).vectors)
    own, blocks = block_of(train.user_tokens), block_of(train.item_tokens)
    missing = [
        np.flatnonzero((blocks == own[user]) & (train.matrix[[user]].toarray()[0] == 0))[:2]
        for user in range(train.n_users)
    ]
    others = [np.flatnonzero(blocks == (own[user] + 1) % 4)[:hard] for user in range(train.n_users)]
    users = np.arange(train.n_users)
    return GenerationTask(
        train,
        vectors,
        np.random.default_rng(1).normal(size=(train.n_items, 6)).astype(np.float32),
        PairSet.of(np.repeat(users, 2), np.concatenate(missing)),
        (np.repeat(users, hard), np.concatenate(others)),
    )


# --- by pair ---


def forms(train: TrainInteractions) -> list[GeneratedNegatives]:
    random, pairs = np.random.default_rng(0), train.matrix.nnz
    vectors = random.normal(size=(train.n_items, 3)).astype(np.float32)
    items = random.integers(0, train.n_items, (pairs, 2)).astype(np.int32)
    items[5], items[6, 1] = -1, -1
    rows = random.permutation(pairs)
    rows[5] = -1
    table = random.normal(size=(pairs, 3)).astype(np.float16)
    parts = (random.normal(size=(train.n_users, 3)).astype(np.float16), vectors.astype(np.float16))
    return [MatchedItems(train, items, vectors), JoinedVectors(train, *parts), VectorsByPair(train, table, rows)]


@pytest.mark.parametrize("form", range(3))
def test_a_pair_finds_its_own_vector(form: int, train: TrainInteractions) -> None:
    found = forms(train)[form]
    users, items = train.histories()
    order = np.random.default_rng(3).permutation(len(users))
    vectors, known = found.of(users[order], items[order], np.zeros(len(users)))
    for place, pair in enumerate(order.tolist()):
        if isinstance(found, MatchedItems):
            due = found.vectors[found.items[pair, 0]] if found.items[pair, 0] >= 0 else None
        elif isinstance(found, JoinedVectors):
            due = found.of_users[users[pair]].astype(np.float32) + found.of_items[items[pair]].astype(np.float32)
        else:
            assert isinstance(found, VectorsByPair)
            due = found.table[found.rows[pair]].astype(np.float32) if found.rows[pair] >= 0 else None
        assert known[place] == (due is not None)
        assert np.array_equal(vectors[place], np.zeros(3, np.float32) if due is None else due)
    assert found.problem() == ""


@pytest.mark.parametrize("form", range(3))
def test_who_is_not_in_train_has_none(form: int, train: TrainInteractions) -> None:
    unobserved = int(np.flatnonzero(train.matrix[[0]].toarray()[0] == 0)[0])
    users, items = np.array([-1, 0, -1, 0]), np.array([0, -1, -1, unobserved])
    vectors, known = forms(train)[form].of(users, items, np.zeros(4))
    assert not known.any()
    assert not vectors.any()


def test_the_uniform_number_says_which_of_several(train: TrainInteractions) -> None:
    found = forms(train)[0]
    assert isinstance(found, MatchedItems)
    users, items = train.histories()
    for pair, uniform, column in ((0, 0.49, 0), (0, 0.5, 1), (0, 0.999, 1), (6, 0.999, 0)):
        vector, _ = found.of(users[[pair]], items[[pair]], np.array([uniform]))
        assert np.array_equal(vector[0], found.vectors[found.items[pair, column]])


@pytest.mark.parametrize("form", range(3))
def test_controls_deal_otherwise_and_keep_who_has_one(form: int, train: TrainInteractions) -> None:
    found = forms(train)[form]
    users, items = train.histories()
    plain, dealt, random = (
        one.of(users, items, np.zeros(len(users)))
        for one in (found, found.shuffled(7, PairSet.none()), noise(found, 7))
    )
    assert (plain[0] != dealt[0]).any(axis=1).mean() > 0.9
    assert plain[1].sum() == dealt[1].sum()
    assert np.array_equal(plain[1], random[1])
    if form == 2:
        assert np.allclose(np.sort(plain[0], axis=0), np.sort(dealt[0], axis=0))


def pairs_of(found: MatchedItems) -> set[tuple[int, int]]:
    """Every (user, item) that was dealt."""
    users = np.repeat(found.train.histories()[0], found.items.shape[1])
    items = found.items.ravel()
    return set(zip(users[items >= 0].tolist(), items[items >= 0].tolist(), strict=True))


def test_a_shuffled_item_is_as_free_as_the_one_it_stands_for(train: TrainInteractions) -> None:
    """Else the control would be easier to beat: observed items as negatives harm whatever they say."""
    task = task_of(train)
    generator = Rule(items=3)
    found = generator.restored(generator.generate(task)[0], task)
    assert isinstance(found, MatchedItems)
    blocked = set(zip(*(ids.tolist() for ids in train.histories()), strict=True))
    blocked |= set(zip(task.false_negatives.users.tolist(), task.false_negatives.items.tolist(), strict=True))
    assert pairs_of(found).isdisjoint(blocked)
    dealt, again, other = (found.shuffled(seed, task.false_negatives) for seed in (7, 7, 8))
    assert len(pairs_of(dealt) & blocked) == 0
    assert np.array_equal(dealt.items, again.items) and not np.array_equal(dealt.items, other.items)
    assert (dealt.items >= 0).all() and all(len(set(row)) == 3 for row in dealt.items.tolist())
    permuted = found.items[np.random.default_rng(7).permutation(len(found.items))]
    free = np.array(
        [
            [(user, item) not in blocked for item in row]
            for user, row in zip(train.histories()[0].tolist(), permuted.tolist(), strict=True)
        ]
    )
    assert np.array_equal(dealt.items[free], permuted[free]) and 0 < free.mean() < 1
    assert set(dealt.items.ravel().tolist()) <= set(found.items.ravel().tolist())


def test_what_nothing_can_replace_is_dropped_from_a_shuffled_row(train: TrainInteractions) -> None:
    """Items 0 and 1 are all that was named; one user may have neither, another only one of them."""
    users = train.histories()[0]
    vectors = np.eye(train.n_items, dtype=np.float32)
    items = np.tile(np.array([0, 1], dtype=np.int32), (len(users), 1))
    free = np.flatnonzero(train.matrix[:, [0, 1]].sum(axis=1) == 0)[:2]
    false = PairSet.of(np.repeat(free[:2], (2, 1)), np.array([0, 1, 0]))
    dealt = MatchedItems(train, items, vectors).shuffled(7, false)
    assert dealt.problem() == ""
    assert (dealt.items[users == free[0]] == -1).all()
    assert (dealt.items[users == free[1]] == (1, -1)).all()


def test_what_does_not_fit_the_train_pairs_is_named(train: TrainInteractions) -> None:
    matched, joined, by_pair = forms(train)
    assert isinstance(matched, MatchedItems) and isinstance(joined, JoinedVectors)
    assert isinstance(by_pair, VectorsByPair)
    late = matched.items.copy()
    late[0] = (-1, 3)
    assert "after a place without" in MatchedItems(train, late, matched.vectors).problem()
    assert "none of the train items" in MatchedItems(train, matched.items + 1000, matched.vectors).problem()
    assert "not finite" in MatchedItems(train, matched.items, matched.vectors * np.nan).problem()
    assert "parts of the shapes" in JoinedVectors(train, joined.of_users[1:], joined.of_items).problem()
    assert "rows that the table" in VectorsByPair(train, by_pair.table[:3], by_pair.rows).problem()


# --- the rule ---


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_rule_names_the_nearest_that_is_neither_observed_nor_a_false_negative(
    weight: float, train: TrainInteractions
) -> None:
    task, k = task_of(train), 3
    found = Rule(items=k, rule_profile=weight).generate(task)[0]["items"]
    false = set(zip(task.false_negatives.users.tolist(), task.false_negatives.items.tolist(), strict=True))
    history = train.matrix.toarray()
    for pair, (user, item) in enumerate(zip(*(ids.tolist() for ids in train.histories()), strict=True)):
        if pair % 37:
            continue
        mean = task.vectors[history[user] > 0].astype(np.float64).mean(axis=0)
        profile = weight * mean / np.linalg.norm(mean) + (1 - weight) * task.vectors[item]
        allowed = [j for j in range(train.n_items) if not history[user, j] and (user, j) not in false]
        score = {j: float(task.vectors[j] @ profile) for j in allowed}
        best = sorted(allowed, key=lambda j: -score[j])[:k]
        assert [score[j] for j in found[pair].tolist()] == pytest.approx([score[j] for j in best], abs=1e-5)


def test_equal_items_are_ordered_and_silent_ones_never_named(train: TrainInteractions) -> None:
    task = task_of(train)
    same = np.zeros_like(task.vectors)
    same[::2, 0] = 1
    found = Rule(items=2).generate(GenerationTask(**{**vars(task), "vectors": same}))[0]["items"]
    blocked = train.matrix.toarray() > 0
    blocked[task.false_negatives.users, task.false_negatives.items] = True
    for pair, (user, item) in enumerate(zip(*(ids.tolist() for ids in train.histories()), strict=True)):
        free = np.flatnonzero(~blocked[user] & (np.arange(train.n_items) % 2 == 0))[:2]
        assert found[pair].tolist() == free.tolist(), (user, item)


def test_several_chunks_name_what_one_names(train: TrainInteractions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are scored some at a time; the test data fit one chunk."""
    done: list[int] = []
    task = replace(task_of(train), progress=done.append)
    whole = Rule(items=3).generate(task)[0]["items"]
    assert done == [train.matrix.nnz]
    monkeypatch.setattr(matching, "_SCORES_AT_ONCE", 500)
    parts = Rule(items=3).generate(task)[0]["items"]
    assert len(done) > 100 and sum(done) == 2 * train.matrix.nnz
    assert np.array_equal(whole, parts)


def test_pairs_of_which_nothing_is_known_have_none(train: TrainInteractions) -> None:
    task = task_of(train)
    found = Rule().generate(GenerationTask(**{**vars(task), "vectors": np.zeros_like(task.vectors)}))[0]["items"]
    assert (found == -1).all()


# --- the projection ---


def test_the_projection_learns_to_name_hard_items(train: TrainInteractions) -> None:
    """It ends nearer to the block of the hard items than to the user's own."""
    task = task_of(train)
    generator = Projection(epochs=60, batch_size=64, learning_rate=0.01, learn_from="teacher", match="vector")
    arrays, facts = generator.generate(task)
    assert facts["loss_last"] < 0.5 * facts["loss_first"]
    users, items = train.histories()
    query = unit_rows(generator.restored(arrays, task).of(users, items, np.zeros(len(users)))[0])
    blocks, own = block_of(train.item_tokens), block_of(train.user_tokens)[users]
    centres = unit_rows(np.array([task.vectors[blocks == block].mean(axis=0) for block in range(4)]))
    near = query @ centres.T
    rows = np.arange(len(users))
    assert (near[rows, (own + 1) % 4] > near[rows, own]).mean() > 0.9


def test_the_projection_is_the_same_every_time_and_leaves_the_global_state_alone(train: TrainInteractions) -> None:
    task, threads = task_of(train), torch.get_num_threads()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    made = [Projection(epochs=1, match="vector").generate(task)[0] for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert not np.array_equal(
        made[0]["of_users"], Projection(epochs=1, seed=1, match="vector").generate(task)[0]["of_users"]
    )


@pytest.mark.parametrize("learn_from", ["rule", "teacher"])
def test_real_items_that_the_user_may_be_kept_from_stand_for_the_projection(
    learn_from: str, train: TrainInteractions
) -> None:
    """The ones nearest to its vector, in plain Python, that are neither observed nor false negatives."""
    task = task_of(train)
    told = {"epochs": 2, "learn_from": learn_from, "items": 3}
    found = Projection(**told, match="items").generate(task)[0]["items"]
    arrays = Projection(**told, match="vector").generate(task)[0]
    users, items = train.histories()
    wanted = unit_rows(arrays["of_users"][users].astype(np.float32) + arrays["of_items"][items].astype(np.float32))
    blocked = train.matrix.toarray() > 0
    blocked[task.false_negatives.users, task.false_negatives.items] = True
    assert not blocked[np.repeat(users, 3), found.ravel()].any()
    scores = np.where(blocked[users], -np.inf, wanted @ task.vectors.T)
    assert (scores[np.arange(len(users)), found[:, 0]] > scores.max(axis=1) - 1e-2).all(), "but for 16-bit rounding"


@pytest.mark.parametrize(
    ("learn_from", "advice"), [("teacher", "raise dtlns_candidates"), ("rule", "check dtlns_text_fields")]
)
def test_the_projection_needs_something_to_learn_from(learn_from: str, advice: str, train: TrainInteractions) -> None:
    task = task_of(train, hard=0)
    silent = replace(task, vectors=np.zeros_like(task.vectors))
    with pytest.raises(DataError, match=f"0 train pairs have one: {advice}"):
        Projection(learn_from=learn_from).generate(silent if learn_from == "rule" else task)


# --- in training ---


class Lookup:
    """Vectors that follow from the ids."""

    dimension = 5

    def __call__(
        self, users: torch.Tensor, positives: torch.Tensor, uniform: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scale = torch.arange(1, 6, device=users.device)
        return torch.sin((users * 7 + positives)[:, None] * scale), users % 3 > 0


class OnRNS(SemanticMixing):
    """Over uniform negatives."""

    rule_class: type = FirstDrawn

    def __init__(self) -> None:
        super().__init__(self.rule_class(), contrast=0.1)

    def begin(self, context: SamplerContext) -> None:
        vectors = torch.randn(context.n_items, 5, device=context.device)
        own = {**vars(context), "generated": Lookup(), "vectors": vectors}
        super().begin(SamplerContext(**own))


class OnDNS(OnRNS):
    rule_class = DNS


class OnMixGCF(OnRNS):
    rule_class = MixGCF


class Chosen(ChosenVectors):
    """The vectors of what DNS chooses."""

    def __init__(self) -> None:
        super().__init__(DNS())


@pytest.mark.parametrize("sampler", [OnRNS, OnDNS, OnMixGCF, Chosen])
@pytest.mark.parametrize("check", SAMPLER_CHECKS, ids=lambda check: check.__name__)
def test_it_conforms_as_a_sampler(check: object, sampler: type) -> None:
    assert callable(check)
    check(sampler)


USERS, ITEMS, SILENT = 30, 40, (0, 7, 8)


def begun(**settings: float) -> SemanticMixing:
    """Over the first of the candidates; nothing is said of some items."""
    vectors = torch.randn(ITEMS, 5, generator=torch.Generator().manual_seed(1))
    vectors[list(SILENT)] = 0
    sampler = SemanticMixing(FirstDrawn(), **settings)
    torch.manual_seed(3)
    sampler.begin(SamplerContext(USERS, ITEMS, "cpu", dimension=4, vectors=vectors, generated=Lookup()))
    return sampler


def batch_of(rows: int, layers: int = 2) -> LayerChoice:
    """Rows that begin with a user without a generated negative, and an item of which nothing is said."""
    random = torch.Generator().manual_seed(2)
    users, positives = (torch.randint(count, (rows,), generator=random) for count in (USERS, ITEMS))
    users[0], users[1], positives[1] = 3, 4, SILENT[1]
    tables = [
        [torch.randn(count, 4, generator=random).requires_grad_() for _ in range(layers)] for count in (USERS, ITEMS)
    ]
    uniform = torch.rand(rows, generator=random)
    candidates = torch.randint(ITEMS, (rows, 3), generator=random)
    mixing = torch.rand(rows, layers, generator=random)
    return LayerChoice(users, positives, candidates, *tables, "mean", mixing, uniform)


@pytest.mark.parametrize("rows", [40, 512, 700])
def test_the_semantic_loss_is_its_definition(rows: int) -> None:
    """Row by row: L_cl where something was generated; the alignment where something is said, as the mean of 512."""
    share, contrast, temperature, align = 0.3, 0.5, 0.2, 2.0
    sampler, batch = begun(share=share, contrast=contrast, temperature=temperature, align=align), batch_of(rows)
    made = sampler.negatives(batch)
    assert made.loss is not None and sampler.vectors is not None
    learnt = min(rows, 512)
    kinds = set()
    for row, (user, positive) in enumerate(zip(batch.users.tolist(), batch.positives.tolist(), strict=True)):
        u, p = (
            torch.stack([layer[which] for layer in layers]).mean(dim=0)
            for layers, which in ((batch.user_layers, user), (batch.item_layers, positive))
        )
        known, said = user % 3 > 0, positive not in SILENT
        kinds.add((known, said))
        x = torch.sin((user * 7 + positive) * torch.arange(1, 6))
        h = sampler.head(x[None])[0]
        due = torch.zeros(())
        if known:
            near, far = (torch.cosine_similarity(u, other, dim=0) / temperature for other in (p, h))
            due = due - contrast * (near.exp() / (near.exp() + far.exp())).log()
        if said and row < learnt:
            due = due + align * rows / learnt * (sampler.head(sampler.vectors[[positive]])[0] - p).square().sum()
        assert made.loss[row].item() == pytest.approx(due.item(), rel=1e-4, abs=1e-6)
        for layer, vectors in zip(batch.item_layers, made.layers, strict=True):
            chosen = layer[batch.candidates[row, 0]]
            mixed = share * h + (1 - share) * chosen if known else chosen
            assert torch.allclose(vectors[row], mixed, atol=1e-6)
    assert len(kinds) == 4


def test_the_alignment_moves_the_head_and_no_item() -> None:
    """Items lie where the ranking loss and L_cl want them; the head alone goes to them."""
    tables, heads = [], []
    for align in (1.0, 50.0):
        sampler, batch = begun(contrast=0.5, align=align), batch_of(100)
        loss = sampler.negatives(batch).loss
        assert loss is not None
        loss.mean().backward()
        tables.append([layer.grad for layer in (*batch.user_layers, *batch.item_layers)])
        heads.append([weight.grad for weight in sampler.head.parameters()])
    assert all(a is not None and b is not None and a.any() and torch.equal(a, b) for a, b in zip(*tables, strict=True))
    assert all(a is not None and b is not None and not torch.allclose(a, b) for a, b in zip(*heads, strict=True))


def test_vectors_of_another_length_than_the_items_are_refused() -> None:
    context = SamplerContext(3, 4, "cpu", dimension=8, vectors=torch.zeros(4, 6), generated=Lookup())
    with pytest.raises(ConfigError, match="the generated vectors have 5 numbers"):
        SemanticMixing(FirstDrawn()).begin(context)
    SemanticMixing(FirstDrawn(), align=0, ranking_reaches_head=True).begin(context)


def test_hinge_is_its_definition() -> None:
    positive, negatives = torch.tensor([1.0, 0.0]), torch.tensor([[0.9, 0.2], [0.0, 1.0]])
    found = hinge(positive, negatives, torch.tensor([[1.0, 1.0], [0.5, 1.0]]), margin=0.3)
    assert torch.allclose(found, torch.tensor([(0.2 + 0.0) / 2, (0.15 + 1.3) / 2]))
