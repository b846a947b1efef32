"""Keys that belong to the run as a whole, or choose a component; a field's name is its key without `dtlns_`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.numerics.per_epoch import CountPerEpoch
from recbole_dtlns.numerics.schedule import Schedule

RECBOLE_SAMPLER = "recbole"
MODEL_LOSS, AUTO_LOSS = "model", "auto"


class RunKeys(ComponentConfig):
    """The run."""

    prefix = ""

    preset: Literal["clean", "best", "authors", "off"] = "clean"
    """Starting values: clean (these), best (what earned most), authors (the published recipe, leaking), off (plain
    RecBole)."""
    protocol: Literal["clean", "authors"] = "clean"
    """clean: only observed items mask evaluation. authors: as published, for comparison only; it leaks."""
    cache_dir: str | None = None
    """Where prepared artefacts are kept and shared by runs; default $RECBOLE_DTLNS_CACHE, else
    ~/.cache/recbole_dtlns."""
    refuse_damaged: bool = False
    """Stop at a damaged artefact instead of naming it and rebuilding it."""
    seed: int = Field(42, ge=0)
    """Seed of the preparation (trees, random controls, trained teachers); RecBole's seed is the run's."""
    fast: bool = True
    """Faster products with a graph model's matrices, and Adam in one pass; equal to RecBole's up to rounding."""
    hide_train: float = Field(0.0, ge=0, lt=1)
    """For experiments: share of every user's train pairs that nothing sees, so that known positives look unobserved."""


class TeacherKeys(ComponentConfig):
    """The teacher, and what it names."""

    prefix = ""

    teacher: str = "EASE"
    """EASE, ItemKNN, checkpoint, or the name of any RecBole general recommender, such as BPR."""
    candidates_file: str | None = None
    """Read the candidates from a file (user_id, item_id, optionally rank, score; .tsv or .parquet) instead."""
    candidates: int = Field(20, ge=1)
    """Unobserved items per user put to the judge, the teacher's best first."""


class TreeKeys(ComponentConfig):
    """The item graph and the item trees."""

    prefix = ""

    structure_dim: int = Field(32, ge=1)
    """Eigenvectors of the item graph that the structure tree is built from."""
    graph_neighbours: int = Field(100, ge=1)
    """Strongest edges that every item keeps in the item graph."""
    graph_max_history: int = Field(1000, ge=2)
    """Items of a user that count in the item graph; of longer histories, this many at random."""
    tree_branching: int = Field(4, ge=2)
    """Children per node."""
    tree_leaf_size: int = Field(30, ge=1)
    """A node with at most this many items is a leaf."""
    tree_balance: Literal["regret", "none", "authors"] = "regret"
    """regret: move the items that lose least. none: plain k-means. authors: move arbitrary items, as published."""
    tree_min_share: float = Field(0.4, ge=0, le=1)
    """Smallest child, in multiples of the mean size (regret)."""
    tree_max_share: float = Field(1.6, ge=1)
    """Largest child, in multiples of the mean size (regret, authors)."""
    structure_paths: str | None = None
    """Read the structure tree from a file (item_id<TAB>path) instead of building it."""
    semantic_paths: str | None = None
    """Read the semantic tree from a file (item_id<TAB>path) instead of building it."""
    paths_know_train: bool = True
    """The paths in these files may have been made from the train pairs, so audit and calibrated, which hide some of
    them, make trees of their own. False: they were made of something else (titles, categories), and are read there
    too."""
    tree_control: Literal["none", "shuffled", "random"] = "none"
    """For experiments: shuffled deals the paths to the items at random, random draws a leaf for each; for judge and
    training."""


class JudgeKeys(ComponentConfig):
    """The judge."""

    prefix = ""

    judge: str = "structural"
    """structural, calibrated (learns from hidden train positives), recorded (labels from a file), an LLM (vllm,
    transformers, openai, ray), distilled (learns from some of an LLM's answers), or a control (always, never, random,
    rank, shuffled)."""


class RelabelKeys(ComponentConfig):
    """What a positive verdict does in training."""

    prefix = ""

    relabel_exclude: bool = True
    """Never draw the pair as a negative."""
    relabel_add: bool = True
    """Add the pair as a training row."""
    relabel_weight: float = Field(0.3, gt=0)
    """Weight of an added row's ranking loss; an observed row's is 1, and the regularisation of a model with a BPR term
    knows no weights. Above 1 the model learns more from the judge than from the data."""
    relabel_decay: float = Field(0.0, ge=0)
    """The k-th best of a user's added rows weighs relabel_weight / k ** decay; 0: all the same."""
    relabel_top: int = Field(5, ge=0)
    """Pseudo-positives per user at most, the best first; 0 means all."""
    relabel_order: Literal["rank", "probability"] = "rank"
    """Which of a user's false negatives count as the best: by the teacher's rank, or the judge's probability."""
    relabel_graph: bool = False
    """Put the pair into the interactions that the model's constructor sees (graph, history, matrix)."""


class NegativeKeys(ComponentConfig):
    """How negatives are chosen."""

    prefix = ""

    sampler: str = "dtlns"
    """By id: rns (uniform), popularity, dns (highest score), dns_mn (one of the highest), ahns (adaptive), srns
    (memory), dtlns (multi-view). As vectors: mixgcf, dens. recbole: RecBole's own."""
    n_candidates: CountPerEpoch = Schedule.constant(10)
    """Candidates drawn per negative; srns: drawn to renew the memory."""
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
    model. In place of its BPR term: bpr, sum_exp, softmax (over a row's negatives), sampled_softmax (over negatives
    that the batch shares)."""
    loss_debiased: bool = False
    """Weigh each negative by 1 - the judge's probability that it is a false one; not with model."""
