"""Known answers on data whose blocks, false negatives and hardest negatives are known in advance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from block_data import block_interactions
from plain_python import block_of, bridged_blocks
from scipy.sparse.csgraph import connected_components

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.guidance.relabelling import relabel
from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.negatives.choosing.contract import Choice
from recbole_dtlns.negatives.choosing.hardest import MultiView
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.pools.uniform import UniformDraws
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.teachers.closed_form import EASE, ItemKNN
from recbole_dtlns.teachers.contract import Candidates, top_candidates
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.structure import item_graph, structure_vectors

BLOCKS, MISSING = 4, 3
TEACHERS = {"EASE": EASE(reg=10.0, dimension=16), "ItemKNN": ItemKNN(k=50, shrink=10.0, dimension=16)}


@dataclass(frozen=True)
class Blocks:
    """Block data with what is known about it."""

    train: TrainInteractions
    block_of_item: np.ndarray

    @property
    def block_of_user(self) -> np.ndarray:
        """Block of every user but those who bridge blocks (-1)."""
        tokens = self.train.user_tokens.tolist()
        return np.array([int(token[1 : token.index("-")]) if token.startswith("u") else -1 for token in tokens])

    def missing_items(self, user: int) -> set[int]:
        own = np.flatnonzero(self.block_of_item == self.block_of_user[user])
        return set(own.tolist()) - set(self.train.matrix[[user]].indices.tolist())


@pytest.fixture(params=[block_interactions, bridged_blocks], ids=["apart", "bridged"])
def blocks(request: pytest.FixtureRequest) -> Blocks:
    """The block data as it is, and with a user between every two blocks."""
    train = request.param(blocks=BLOCKS, missing=MISSING)
    return Blocks(train, block_of(train))


@pytest.fixture
def bridged() -> Blocks:
    train = bridged_blocks(blocks=BLOCKS, missing=MISSING)
    return Blocks(train, block_of(train))


def assert_blocks_are_subtrees(tree: ItemTree, block: np.ndarray) -> None:
    items = np.arange(tree.n_items)
    similarity = tree.similarity(items[:, None], items[None])
    same = block[:, None] == block[None]
    assert (similarity[same] > 0).all(), "items of one block share a prefix"
    assert (similarity[~same] == 0).all(), "items of different blocks share none"


def test_blocks_are_the_components_of_the_item_graph() -> None:
    """Users have items of one block only, so no edge leaves a block and every block is connected."""
    train = block_interactions(blocks=BLOCKS, missing=MISSING)
    n_components, component = connected_components(item_graph(train), directed=False)
    assert n_components == BLOCKS
    assert len(set(zip(component.tolist(), block_of(train).tolist(), strict=True))) == BLOCKS


@pytest.mark.parametrize("leaf_size", [20, 7, 3])
@pytest.mark.parametrize("teacher", TEACHERS)
def test_semantic_trees_separate_blocks(teacher: str, leaf_size: int, blocks: Blocks) -> None:
    """A teacher's item vectors put every block into its own subtree of the root, however small the leaves."""
    vectors = TEACHERS[teacher].fit(blocks.train).item_vectors
    tree, _ = build_tree(vectors, TreeShape(leaf_size=leaf_size))
    assert_blocks_are_subtrees(tree, blocks.block_of_item)


@pytest.mark.parametrize("leaf_size", [20, 7, 3])
def test_structure_trees_separate_blocks(leaf_size: int, bridged: Blocks) -> None:
    """The leading vectors of weakly linked dense blocks say in which block an item lies, and so does their tree.

    Blocks must be linked and the vectors as many as there are cuts between them: vectors of whole components are
    trivial and left out, and the further vectors describe the inside of the blocks.
    """
    vectors = structure_vectors(bridged.train, BLOCKS - 1)
    tree, _ = build_tree(vectors, TreeShape(leaf_size=leaf_size))
    assert_blocks_are_subtrees(tree, bridged.block_of_item)


@pytest.mark.parametrize("teacher", TEACHERS)
def test_teachers_rank_the_missing_block_items_first(teacher: str, blocks: Blocks) -> None:
    """The false negatives of every user are the first candidates, before any item of another block."""
    candidates = top_candidates(TEACHERS[teacher].fit(blocks.train), blocks.train, 20)
    for user in np.flatnonzero(blocks.block_of_user >= 0):
        assert set(candidates.items[candidates.users == user][:MISSING].tolist()) == blocks.missing_items(user)


def test_item_knn_names_no_candidate_without_evidence() -> None:
    """Where no user links two blocks, only the missing items of the own block are candidates."""
    train = block_interactions(blocks=BLOCKS, missing=MISSING)
    candidates = top_candidates(TEACHERS["ItemKNN"].fit(train), train, 20)
    assert np.bincount(candidates.users).tolist() == [MISSING] * train.n_users


def judged(blocks: Blocks, leaf_size: int, threshold: float) -> tuple[Candidates, np.ndarray, np.ndarray]:
    """EASE's candidates, their labels, and whether each is of the user's own block; bridging users left out."""
    fitted = TEACHERS["EASE"].fit(blocks.train)
    found = top_candidates(fitted, blocks.train, 20)
    asked = blocks.block_of_user[found.users] >= 0
    candidates = Candidates(found.users[asked], found.items[asked], found.ranks[asked], found.scores[asked])
    shape = TreeShape(leaf_size=leaf_size)
    structure, _ = build_tree(structure_vectors(blocks.train, BLOCKS - 1), shape)
    semantic, _ = build_tree(fitted.item_vectors, shape)
    question = Question(blocks.train, candidates, {"structure": structure, "semantic": semantic})
    label = StructuralJudge(threshold=threshold).judge(question).label
    return candidates, label, blocks.block_of_user[candidates.users] == blocks.block_of_item[candidates.items]


@pytest.mark.parametrize(("leaf_size", "threshold"), [(20, 1.0), (7, 0.25), (3, 0.25)])
def test_structural_judge_finds_the_false_negatives(leaf_size: int, threshold: float, bridged: Blocks) -> None:
    """Own-block candidates are positive and foreign ones negative: same leaf, or any shared prefix in deeper trees."""
    candidates, label, own = judged(bridged, leaf_size, threshold)
    assert 0 < own.sum() < len(candidates)
    np.testing.assert_array_equal(label, np.where(own, Label.POSITIVE, Label.NEGATIVE))


@pytest.mark.parametrize("top", [0, 1, 2, 3, 9])
def test_relabelling_takes_the_top_false_negatives(top: int, bridged: Blocks) -> None:
    """All missing block items are forbidden; the best `top` of them by the teacher's rank become positives."""
    candidates, label, own = judged(bridged, 20, 1.0)
    found = relabel(candidates, Verdicts(np.zeros(len(label), np.float32), label), top)
    for user in np.unique(candidates.users):
        best = candidates.items[(candidates.users == user) & own].tolist()
        assert set(best) == bridged.missing_items(user)
        assert set(found.forbidden.items[found.forbidden.users == user].tolist()) == set(best)
        mine = found.positives.users == user
        places = dict(zip(found.positives.items[mine].tolist(), found.positives.place[mine].tolist(), strict=True))
        assert places == {item: place for place, item in enumerate(best[: top or None])}


def test_false_negatives_are_never_drawn_and_the_hardest_negative_is_the_nearest(bridged: Blocks) -> None:
    """The whole chain: forbidden items are out of the pool, and among foreign items of equal score and one item of the
    own block that nobody called a false negative, the sampler picks the latter.
    """
    train, block = bridged.train, bridged.block_of_item
    candidates, label, _ = judged(bridged, 20, 1.0)
    forbidden = relabel(candidates, Verdicts(np.zeros(len(label), np.float32), label), 0).forbidden
    shifted = [type(pairs).of(pairs.users, pairs.items + 1) for pairs in (Observed.of(*train.histories()), forbidden)]
    pool = UniformDraws(shifted[0].union(shifted[1]), train.n_users, train.n_items + 1)
    users = np.flatnonzero(bridged.block_of_user >= 0)
    drawn = pool.draw(users, users, counter_uniform(0, 0, users, 50)) - 1
    assert (block[drawn] != bridged.block_of_user[users][:, None]).all(), "the whole own block is seen or forbidden"

    structure, _ = build_tree(structure_vectors(train, BLOCKS - 1), TreeShape(leaf_size=20))
    view = TreeView(structure, np.arange(train.n_items), "cpu")
    positives = np.array([train.matrix[[user]].indices[0] for user in users])
    rows = drawn[:, :6].copy()
    place = np.arange(len(users)) % 6
    rows[np.arange(len(users)), place] = [min(bridged.missing_items(user)) for user in users]
    sampler = MultiView()
    sampler.begin(SamplerContext(len(users), train.n_items, "cpu", {"structure": view, "semantic": view}))
    choice = Choice(torch.tensor(users), torch.tensor(positives), torch.tensor(rows), torch.zeros(rows.shape))
    chosen = sampler.select(choice)
    np.testing.assert_array_equal(chosen.numpy(), place)
