"""A second method, as somebody else would write it, trains without a change of this package's code; `off` is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_pairs
from test_training_step import one_epoch
from tiny_runs import PLAIN, as_set, observed, train, used_pairs

from recbole_dtlns import prepare_only
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataloader import CANDIDATES, WEIGHT
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, PseudoPositives
from recbole_dtlns.errors import ConfigError, ContractError, UnknownNameError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods import Method, Task
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.choosing.tree_terms import TreeTerms
from recbole_dtlns.negatives.contract import SamplerContext
from recbole_dtlns.negatives.pools.contract import CandidatePool, PoolContext
from recbole_dtlns.negatives.pools.subtree import SubtreeDraws
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.numerics.schedule import Schedule
from recbole_dtlns.studies.tune.plan import Plan
from recbole_dtlns.trees.item_tree import ItemTree

NEAR = 100.0  # of the third tree's term: larger than any difference of scaled scores


class Topics(Method):
    """Three item trees, one of them of topics, and vectors from a file; the user's first unobserved item is added."""

    class Config(ComponentConfig):
        """Its files."""

        paths: str
        """File of the topics (item_id, path)."""
        vectors: str
        """Table of item_id and numbers."""

    config: Config
    version = 1
    own_sampler = "topical"

    def guide(self, task: Task) -> Guidance:
        tokens = task.train.item_tokens.tolist()
        topics, _ = ItemTree.from_file(self.config.paths, tokens)
        rows = dict(line.split("\t", 1) for line in Path(self.config.vectors).read_text().splitlines())
        users = np.arange(task.train.n_users)
        items = (task.train.matrix.toarray() == 0).argmax(axis=1)
        return Guidance(
            train=task.train,
            positives=PseudoPositives.of(users, items, weight=np.full(len(users), 0.75)),
            forbidden=Forbidden.of(users, items),
            judged=JudgedPairs.of(users, items, np.full(len(users), 0.5, np.float32)),
            views={"structure": topics, "semantic": topics, "topic": topics},
            vectors=np.array([[float(number) for number in rows[token].split("\t")] for token in tokens]),
        )


class Topical(ItemSampler):
    """The candidate whose vector is most like the positive's, among those of its topic where there are any."""

    reads_scores = False

    def begin(self, context: SamplerContext) -> None:
        assert context.vectors is not None
        self.vectors = context.vectors
        self.terms = TreeTerms([(Schedule.constant(NEAR), context.view("topic"))])

    def select(self, choice: Choice) -> torch.Tensor:
        products = (self.vectors[choice.positives][:, None] * self.vectors[choice.candidates]).sum(dim=2)
        return self.terms.added(products, choice).argmax(dim=1)


class TopicPool(CandidatePool):
    """Half of the candidates from the positive's topic."""

    def begin(self, context: PoolContext) -> None:
        assert context.tree_item is not None
        size = (context.n_users, context.n_items)
        self.draws = SubtreeDraws(context.blocked, *size, [context.tree("topic")], context.tree_item, 0.5, [1])

    def draw(self, users: np.ndarray, positives: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return self.draws.draw(users, positives, uniform)


def topic_of(token: str) -> int:
    return int(token[-2:]) % 5


def vector_of(token: str) -> tuple[float, float]:
    return float(int(token[1])), float(int(token[-2:]) ** 2 % 7)


@pytest.fixture
def topical(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keys of a run of that method, which is announced as an entry point would announce it."""
    for table, name, component in ((METHODS, "topics", Topics), (SAMPLERS, "topical", Topical)):
        monkeypatch.setitem(table._builtin, name, component)
    monkeypatch.setitem(POOLS._builtin, "topic", TopicPool)
    items = sorted(set(block_pairs()[1].tolist()))
    Path("topics.tsv").write_text("item_id\tpath\n" + "".join(f"{item}\t{topic_of(item)}\n" for item in items))
    lines = ("\t".join([item, *map(str, vector_of(item))]) for item in items)
    Path("vectors.tsv").write_text("\n".join(lines) + "\n")
    named = {"dtlns_topics_paths": "topics.tsv", "dtlns_topics_vectors": "vectors.tsv"}
    return {**tiny, "dtlns_method": "topics", **named}


@pytest.mark.parametrize("pool", ["uniform", "topic"])
def test_a_third_tree_and_vectors_from_a_file_choose_the_negatives(pool: str, topical: dict[str, Any]) -> None:
    run = train("BPR", topical, dtlns_pool=pool)
    tokens = run.train.field2id_token["item_id"].tolist()
    near, rows = 0, 0
    for made, chosen in one_epoch(run, 0):
        for positive, candidates, negative in zip(
            made["item_id"].tolist(), made[CANDIDATES].tolist(), chosen["neg_item_id"].tolist(), strict=True
        ):

            def quality(item: int, given: int = positive) -> tuple[bool, float]:
                one, other = vector_of(tokens[given]), vector_of(tokens[item])
                return topic_of(tokens[given]) == topic_of(tokens[item]), sum(map(float.__mul__, one, other))

            assert quality(negative) == max(map(quality, candidates))
            near += sum(topic_of(tokens[positive]) == topic_of(tokens[item]) for item in candidates)
            rows += len(candidates)
    assert near / rows == pytest.approx(0.2 if pool == "uniform" else 0.6, abs=0.08)


def test_its_pairs_are_rows_of_their_weight_and_reach_no_mask(topical: dict[str, Any], tiny: dict[str, Any]) -> None:
    run, plain = train("BPR", topical), train("BPR", {**tiny, **PLAIN})
    guidance = run.preparation
    assert guidance is not None
    added = as_set(to_recbole_ids(guidance.positives, guidance.train, run.train))
    assert len(added) == guidance.train.n_users
    rows = run.data.train_loader.positives_of(np.arange(len(run.train), len(run.train) + len(added)))
    assert set(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)) == added
    assert set(rows[WEIGHT].tolist()) == {0.75}
    drawn = {
        pair
        for made, _ in one_epoch(run, 0)
        for user, items in zip(made["user_id"].tolist(), made[CANDIDATES].tolist(), strict=True)
        for pair in ((user, item) for item in items)
    }
    assert drawn.isdisjoint(added | observed(run.train))
    for ours, theirs in (
        (run.data.valid_loader, plain.data.valid_loader),
        (run.data.test_loader, plain.data.test_loader),
    ):
        assert used_pairs(ours._sampler) == used_pairs(theirs._sampler)


def test_its_own_keys_are_checked_and_read(topical: dict[str, Any]) -> None:
    settings = DTLNSConfig("BPR", "tiny", config_dict={**topical, "dtlns_sampler": "dns"}).settings
    assert settings.sampler == "topical", "the method brings its own"
    with pytest.raises(ConfigError, match=r"dtlns_topics_path'\. Did you mean 'dtlns_topics_paths'"):
        DTLNSConfig("BPR", "tiny", config_dict={**topical, "dtlns_topics_path": "x"})
    with pytest.raises(ConfigError, match="dtlns_topics_vectors is needed"):
        DTLNSConfig("BPR", "tiny", config_dict={**topical, "dtlns_topics_vectors": None})
    keys = Plan("BPR", "tiny", topical, ()).keys_of_preparation()
    assert {"dtlns_topics_paths", "dtlns_topics_vectors", "dtlns_method", "seed"} <= keys
    assert not {"dtlns_judge", "dtlns_teacher"} & keys
    found = prepare_only("BPR", "tiny", config_dict=topical)
    assert found is not None and "item trees: structure, semantic, topic" in found.summary()


def test_off_is_plain_recbole(tiny: dict[str, Any]) -> None:
    """To the last digit, as the preset of that name is."""
    method, preset = train("BPR", tiny, dtlns_method="off"), train("BPR", {**tiny, **PLAIN})
    assert method.preparation is None
    assert type(method.data.train_loader) is type(preset.data.train_loader)
    assert method.result["test_result"] == preset.result["test_result"]
    assert method.result["best_valid_result"] == preset.result["best_valid_result"]


def test_a_method_that_there_is_not_is_refused(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown method 'dtln'\. Choices: dtlns, hnlmrec, off.*Did you mean 'dtlns'"
    ):
        DTLNSConfig("BPR", "tiny", config_dict={**tiny, "dtlns_method": "dtln"})
    monkeypatch.setitem(METHODS._builtin, "wrong", Topical)
    with pytest.raises(ContractError, match="the method 'wrong' is no subclass of Method"):
        DTLNSConfig("BPR", "tiny", config_dict={**tiny, "dtlns_method": "wrong"})
