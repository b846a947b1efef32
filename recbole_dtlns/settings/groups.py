"""Keys that belong to the run as a whole, or choose a component; a field's name is its key without `dtlns_`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.guidance.relabelling import RowWeights
from recbole_dtlns.numerics.per_epoch import CountPerEpoch
from recbole_dtlns.numerics.schedule import Schedule

RECBOLE_SAMPLER = "recbole"
MODEL_LOSS, AUTO_LOSS = "model", "auto"


class RunKeys(ComponentConfig):
    """The run."""

    prefix = ""

    preset: Literal["clean", "best", "rows", "authors", "off"] = "clean"
    """Starting values: clean (these), best (what earned most: several teachers, whole lists where a model takes them),
    rows (one teacher, its items as weighed rows), authors (the published recipe, leaking), off (plain RecBole)."""
    method: str = "dtlns"
    """What is prepared from the train pairs, and how negatives are chosen: dtlns (by the stages below), hnlmrec
    (by them too; hard negatives are generated from what items say, and mixed into the chosen ones), off (nothing is
    prepared, and RecBole draws its own), or somebody else's."""
    protocol: Literal["clean", "authors"] = "clean"
    """clean: only observed items mask evaluation. authors: as published, for comparison only; it leaks."""
    seed: Seed = 42
    fast: bool = True
    """Faster products with a graph model's matrices, and Adam in one pass; equal to RecBole's up to rounding."""
    hide_train: float = Field(0.0, ge=0, lt=1)
    """For experiments: share of every user's train pairs that nothing sees, so that known positives look unobserved."""


class RelabelKeys(RowWeights):
    """What a positive verdict does in training."""

    prefix = ""

    relabel_exclude: bool = True
    """Never draw the pair as a negative."""
    relabel_add: bool = True
    """Add the pair as a training row; of a sequential model whose loss is over all items, or over negatives that a
    batch shares, as a further target of the user's sequences."""
    relabel_graph: bool = False
    """Put the pair into the interactions that the model's constructor sees (graph, history, matrix)."""


class NegativeKeys(ComponentConfig):
    """How negatives are chosen."""

    prefix = ""

    sampler: str = "dtlns"
    """By id: rns (uniform), popularity, dns (highest score), dns_mn (one of the highest), ahns (adaptive), srns
    (memory), dtlns (multi-view). As vectors: mixgcf, dens. recbole: RecBole's own."""
    n_candidates: CountPerEpoch = Schedule.constant(10)
    """Candidates drawn per negative, of which the sampler chooses; srns: drawn to renew the memory."""
    hardest_rank: int = Field(1, ge=1)
    """Never draw more candidates than items / hardest_rank: the hardest drawn is then about the item of this rank. It
    makes one dtlns_n_candidates fit small catalogues too; 1: no bound."""
    mixing: bool = False
    """dtlns, dns, dns_mn, ahns: choose per layer and mix the positive in, as MixGCF and the published code do."""
    warmup_epochs: int = Field(0, ge=0)
    """Epochs of uniform negatives before the sampler starts."""


class PoolKeys(ComponentConfig):
    """Which items candidates are drawn from."""

    prefix = ""

    pool: str = "uniform"
    """uniform, popularity (train counts), tree (a share from around the positive in the item trees), file."""


class LossKeys(ComponentConfig):
    """What is minimised."""

    prefix = ""

    loss: str = MODEL_LOSS
    """model: the model's own. auto: bpr where the model has a BPR term (rows of many weights then cost one pass), else
    model. In place of its BPR term: bpr, hinge, sum_exp, softmax (over a row's negatives), sampled_softmax and
    gbce (over negatives that the batch shares, and one of a row's own where the sampler chooses), listwise (over a
    user's whole list, to the judge's probabilities; no sampler chooses, and relabel_add and relabel_exclude have
    nothing to act on)."""
    loss_debiased: bool = False
    """Weigh each negative by 1 - the judge's probability that it is a false one; not with model, nor listwise."""


class TrainingKeys(ComponentConfig):
    """How steps are taken, whatever is minimised."""

    prefix = ""

    learning_rate_decay: Literal["none", "linear"] = "none"
    """linear: of E epochs (epochs), the e-th from 0 is trained at learning_rate * (1 - e / E)."""
    average_weights: float = Field(0.0, ge=0, lt=1)
    """Evaluate and save the moving average of the weights over the steps, of this decay (such as 0.99); 0: the weights
    as they are."""
    sparse_gradients: bool = False
    """Let a step touch only the rows of the embedding tables that its batch looks up (torch's SparseAdam), for models
    that are nothing but these tables, such as BPR, of millions of users or items."""
