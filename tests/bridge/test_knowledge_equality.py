"""Knowledge models with DTL-NS off give the numbers of RecBole's own `run_recbole`, both halves of them."""

from __future__ import annotations

from typing import Any

import pytest
from facts import FACTS, MODELS, keys_of, write_facts
from real_recbole import results_of_recbole
from recbole.trainer import Trainer
from tiny_runs import PLAIN, QUICK, train

# The packages that RecBole imports for KGAT, KGIN and MCCLK, as far as it uses them, written down from what their
# documentation says of these functions.
PACKAGES = """
import numpy as np
import scipy.sparse as sp
import torch
class Graph:
    def __init__(self, ends, nodes=None):
        self.ends, self.nodes = ends, nodes or int(max(end.max() for end in ends)) + 1
        self.edata = {}
    def filter_edges(self, chosen):
        class Edges:
            data = self.edata
        return torch.nonzero(chosen(Edges)).squeeze(1)
    def adjacency_matrix(self, transpose, scipy_fmt):
        assert not transpose and scipy_fmt == "coo"
        source, destination = (end.numpy() for end in self.ends)
        return sp.coo_matrix((np.ones(len(source)), (source, destination)), shape=(self.nodes, self.nodes))
dgl = sys.modules["dgl"] = types.ModuleType("dgl")
dgl.graph = Graph
dgl.edge_subgraph = lambda graph, edges, preserve_nodes: Graph([end[edges] for end in graph.ends], graph.nodes)
scatter = sys.modules["torch_scatter"] = types.ModuleType("torch_scatter")
def scatter_mean(src, index, dim_size, dim):
    sums = torch.zeros(dim_size, src.shape[1]).index_add(0, index, src)
    return sums / torch.bincount(index, minlength=dim_size).clamp(min=1)[:, None].float()
def scatter_softmax(src, index, dim):
    powers = torch.exp(src)
    return powers / torch.zeros(int(index.max()) + 1, src.shape[1]).index_add(0, index, powers)[index]
# RecBole counts operations by a pass through the model, for which KGIN, KTUP and MCCLK draw random numbers.
sys.modules["recbole.quick_start.quick_start"].get_flops = lambda *arguments: 0.0
scatter.scatter_mean, scatter.scatter_softmax = scatter_mean, scatter_softmax
"""
ROUNDED = {"MCCLK": 1e-5}  # whose softmax is written otherwise here


@pytest.fixture(scope="module")
def recboles_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("recbole")
    keys = {**QUICK, **write_facts(str(folder)), "dataset": FACTS, "epochs": 2}
    return results_of_recbole({name: {**keys, **keys_of(name), "model": name} for name in MODELS}, folder, PACKAGES)


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The losses of every half of every epoch, as RecBole's own trainer is told them."""
    losses, epoch = [], Trainer._train_epoch

    def watched(*arguments: Any, **named: Any) -> Any:
        loss = epoch(*arguments, **named)
        losses.append(list(loss) if isinstance(loss, tuple) else loss)
        return loss

    monkeypatch.setattr(Trainer, "_train_epoch", watched)
    return losses


def flat(losses: list[Any]) -> list[float]:
    return [part for loss in losses for part in (loss if isinstance(loss, list) else [loss])]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("model", MODELS)
def test_preset_off_is_recbole_in_both_halves(model: str, recboles_results: dict[str, Any], halves: list[Any]) -> None:
    run = train(model, {**write_facts(), **keys_of(model), **PLAIN}, dataset=FACTS, epochs=2, saved=False)
    expected, within = recboles_results[model], ROUNDED.get(model, 0.0)
    assert flat(halves) == pytest.approx(flat(expected["losses"]), rel=within, abs=0)
    assert len(halves) == {"KGAT": 4, "MKR": 3}.get(model, 2)
    for key in ("best_valid_result", "test_result"):
        found = {name: float(value) for name, value in run.result[key].items()}
        assert found == pytest.approx(expected[key], abs=100 * within)
