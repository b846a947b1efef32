"""The `dtlns_*` keys of a configuration, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from recbole_dtlns.bridge.models.capabilities import CAPABILITIES, resolve_model
from recbole_dtlns.errors import ConfigError, UnknownNameError
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.numerics.schedule import Schedule
from recbole_dtlns.registry import nearest
from recbole_dtlns.teachers.table import TEACHERS

PREFIX = "dtlns_"
RECBOLE_SAMPLER = "recbole"
_MIXABLE = ("dtlns", "dns", "dns_mn", "ahns")
_WITHOUT_TERMS = ("rns", "popularity", "dens", RECBOLE_SAMPLER)
_WITHOUT_TREES = ("uniform", "popularity", "file")
_SHAREABLE = ("uniform", "popularity")


def _at_least(least: float, schedule: Schedule) -> Schedule:
    if min(schedule.values) < least:
        raise ValueError(f"must be at least {least:g} in every epoch")
    return schedule


_READ, _WRITE = BeforeValidator(Schedule.read), PlainSerializer(Schedule.plain)
Count = Annotated[Schedule, _READ, AfterValidator(partial(_at_least, 1)), _WRITE]
Weight = Annotated[Schedule, _READ, AfterValidator(partial(_at_least, 0)), _WRITE]


class DTLNSSettings(BaseModel):
    """One field per `dtlns_*` key; `properties/dtlns.yaml` says what each means."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    preset: Literal["clean", "best", "authors", "off"] = "clean"
    protocol: Literal["clean", "authors"] = "clean"
    cache_dir: str | None = None
    refuse_damaged: bool = False
    seed: int = Field(42, ge=0)
    fast: bool = True
    hide_train: float = Field(0.0, ge=0, lt=1)

    teacher: str = "EASE"
    teacher_dim: int = Field(64, ge=1)
    teacher_ease_reg: float = Field(100.0, gt=0)
    teacher_knn_k: int = Field(200, ge=1)
    teacher_knn_shrink: float = Field(10.0, ge=0)
    teacher_epochs: int = Field(50, ge=1)
    teacher_config_files: list[str] = Field(default_factory=list)
    teacher_checkpoint: str | None = None
    candidates: int = Field(20, ge=1)
    candidates_file: str | None = None

    structure_dim: int = Field(32, ge=1)
    graph_neighbours: int = Field(100, ge=1)
    graph_max_history: int = Field(1000, ge=2)
    tree_branching: int = Field(4, ge=2)
    tree_leaf_size: int = Field(30, ge=1)
    tree_balance: Literal["regret", "none", "authors"] = "regret"
    tree_min_share: float = Field(0.4, ge=0, le=1)
    tree_max_share: float = Field(1.6, ge=1)
    structure_paths: str | None = None
    semantic_paths: str | None = None
    paths_know_train: bool = True
    tree_control: Literal["none", "shuffled", "random"] = "none"

    judge: str = "structural"
    judge_threshold: float = Field(0.5, gt=0, le=1)
    judge_random_rate: float = Field(0.5, ge=0, le=1)
    judge_rank_first: int = Field(5, ge=1)
    judge_hide: float = Field(0.1, gt=0, lt=1)
    judge_lift: float = Field(1.0, ge=0)
    judge_model: str | None = None
    judge_revision: str | None = None
    judge_prompt: str = "pair"
    judge_max_history: int = Field(0, ge=0)
    judge_slice: int = Field(2048, ge=1)
    judge_batch_size: int = Field(32, ge=1)
    judge_engine_args: dict[str, Any] = Field(default_factory=dict)
    judge_max_abstain_rate: float = Field(0.1, ge=0, le=1)
    judge_reask_abstained: bool = False
    judge_max_tokens_total: int | None = Field(None, ge=1)
    judge_base_url: str | None = None
    judge_api_key_env: str | None = None
    judge_concurrency: int = Field(32, ge=1)
    judge_timeout: float = Field(120.0, gt=0)
    judge_retries: int = Field(6, ge=0)
    judge_tokenizer: str | None = None
    judge_labels: str | None = None
    judge_missing: Literal["abstain", "negative"] = "abstain"
    judge_llm: str = "openai"
    judge_max_llm_pairs: int = Field(10_000, ge=1)
    judge_sure: float = Field(0.4, ge=0, le=0.5)
    judge_ray_address: str | None = None
    judge_ray_workers: int = Field(1, ge=1)
    judge_ray_resources: dict[str, float] = Field(default_factory=dict)
    judge_ray_urls: list[str] = Field(default_factory=list)

    relabel_exclude: bool = True
    relabel_add: bool = True
    relabel_weight: float = Field(0.3, gt=0)
    relabel_decay: float = Field(0.0, ge=0)
    relabel_top: int = Field(5, ge=0)
    relabel_order: Literal["rank", "probability"] = "rank"
    relabel_graph: bool = False

    sampler: str = "dtlns"
    n_candidates: Count = Schedule.constant(10)
    hardest_rank: int = Field(1, ge=1)
    alpha_co: Weight = Schedule.constant(0.1)
    alpha_se: Weight = Schedule.constant(0.3)
    tree_terms: bool = False
    mixing: bool = False
    warmup_epochs: int = Field(0, ge=0)
    dns_top: int = Field(5, ge=1)
    ahns_alpha: float = 1.0
    ahns_beta: float = Field(0.1, gt=0)
    ahns_power: float = -2.0
    srns_memory: int = Field(8, ge=1)
    srns_alpha: float = Field(5.0, ge=0)
    srns_ramp: int = Field(50, ge=1)
    srns_temperature: float = Field(10.0, gt=0)
    dens_gamma: float = Field(0.3, ge=0)
    dens_warmup: int = Field(100, ge=1)

    pool: str = "uniform"
    pool_power: float = Field(0.75, ge=0)
    pool_tree: Literal["both", "structure", "semantic"] = "both"
    pool_tree_share: float = Field(0.5, ge=0, le=1)
    pool_depths: list[int] = Field(default_factory=lambda: [2], min_length=1)
    pool_file: str | None = None

    loss: Literal["model", "auto", "bpr", "sum_exp", "softmax", "sampled_softmax"] = "model"
    loss_temperature: float = Field(1.0, gt=0)
    loss_shared: int = Field(1024, ge=1)
    loss_debiased: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DTLNSSettings:
        """Read the `dtlns_*` keys of a flat configuration; other keys are RecBole's and left alone.

        Raises:
            ConfigError: a key is unknown (the nearest one is named), a value is wrong, or two contradict.
        """
        own = {key: value for key, value in config.items() if key.startswith(PREFIX)}
        known = [PREFIX + name for name in cls.model_fields]
        for key in own:
            if key not in known:
                raise ConfigError(f"unknown key '{key}'.{nearest(key, known)} All keys: properties/dtlns.yaml")
        try:
            return cls(**{key.removeprefix(PREFIX): value for key, value in own.items()})
        except ValidationError as error:
            raise ConfigError("; ".join(_explain(detail) for detail in error.errors())) from None

    @model_validator(mode="after")
    def _check_together(self) -> DTLNSSettings:
        _check_teacher(self.teacher)
        JUDGES.get(self.judge)
        if self.sampler != RECBOLE_SAMPLER:
            _check_sampler(self.sampler)
        self._check_negatives()
        if self.teacher == "checkpoint" and self.teacher_checkpoint is None:
            raise ConfigError("dtlns_teacher: checkpoint needs dtlns_teacher_checkpoint, the path of a best.pth")
        if self.tree_leaf_size < self.tree_branching:
            raise ConfigError(
                f"dtlns_tree_leaf_size ({self.tree_leaf_size}) must be at least "
                f"dtlns_tree_branching ({self.tree_branching}), or a node could have fewer items than children"
            )
        return self

    def _check_negatives(self) -> None:
        most = max(self.n_candidates.values)
        if self.sampler == "dns_mn" and self.dns_top > most:
            raise ConfigError(
                f"dtlns_dns_top ({self.dns_top}) must not exceed dtlns_n_candidates ({most:g}), from which dns_mn "
                "takes the best"
            )
        if self.mixing and self.sampler not in _MIXABLE:
            raise ConfigError(
                f"dtlns_mixing is not for dtlns_sampler: {self.sampler}; it mixes what {', '.join(_MIXABLE)} choose"
            )
        if self.tree_terms and self.sampler in _WITHOUT_TERMS:
            raise ConfigError(f"dtlns_tree_terms has no effect on dtlns_sampler: {self.sampler}: set it to False")
        POOLS.get(self.pool_used)
        if self.pool_used != self.pool and self.pool != "uniform":
            raise ConfigError(f"dtlns_sampler: popularity draws from its own pool: leave out dtlns_pool: {self.pool}")
        if self.pool != "uniform" and not self.selects:
            raise ConfigError(f"dtlns_pool: {self.pool} needs a dtlns_sampler other than recbole")
        if self.pool == "tree" and self.drawn_once:
            raise ConfigError(
                f"dtlns_pool: tree draws a share of several candidates, and dtlns_sampler: {self.sampler} takes one: "
                "use dns, for example"
            )
        if (self.pool == "file") != (self.pool_file is not None):
            raise ConfigError("dtlns_pool: file and dtlns_pool_file, a table of user_id and item_id, go together")
        if min(self.pool_depths) < 0:
            raise ConfigError("dtlns_pool_depths must hold numbers from 0 on")
        if self.loss not in ("model", "auto") and not self.selects:
            raise ConfigError(f"dtlns_loss: {self.loss} needs a dtlns_sampler other than recbole")
        if self.loss == "sampled_softmax" and (not self.drawn_once or self.pool_used not in _SHAREABLE):
            raise ConfigError(
                "dtlns_loss: sampled_softmax takes negatives that a batch shares, so there is none to choose: set "
                "dtlns_sampler to rns (uniform ones) or popularity, with dtlns_pool: uniform or popularity"
            )
        if self.loss_debiased and self.loss in ("model", "auto"):
            raise ConfigError("dtlns_loss_debiased weighs negatives one by one: set dtlns_loss to bpr, for example")

    @property
    def flat(self) -> dict[str, Any]:
        """Every value by its key without `dtlns_`: what components are made from."""
        return dict(self)

    @property
    def relabels(self) -> bool:
        """Whether any positive verdict changes training."""
        return self.relabel_exclude or self.relabel_add or self.relabel_graph

    @property
    def selects(self) -> bool:
        """Whether a sampler of this package chooses the negatives."""
        return self.sampler != RECBOLE_SAMPLER

    @property
    def drawn_once(self) -> bool:
        """Whether the negative is what was drawn, so that one candidate is enough."""
        return self.sampler in ("rns", "popularity", RECBOLE_SAMPLER)

    def drawn(self, n_items: int) -> Schedule:
        """Candidates drawn for every negative out of a catalogue of this size, by epoch."""
        if self.drawn_once:
            return Schedule.constant(1)
        return self.n_candidates.at_most(max(1, n_items // self.hardest_rank))

    @property
    def pool_used(self) -> str:
        """Name of the pool that candidates are drawn from."""
        return "popularity" if self.sampler == "popularity" else self.pool

    def loss_for(self, bpr_term: bool) -> str:
        """The loss of a model, which has a BPR term or not."""
        return self.loss if self.loss != "auto" else "bpr" if bpr_term and self.selects else "model"

    @property
    def makes_vectors(self) -> bool:
        """Whether negatives are made of embeddings instead of chosen by id."""
        return self.mixing or self.sampler in ("mixgcf", "dens")

    @property
    def reads_trees(self) -> bool:
        """Whether the choice of negatives looks at the item trees; samplers and pools from elsewhere may."""
        known = self.sampler in (*_WITHOUT_TERMS, *_MIXABLE, "srns", "mixgcf") and self.pool_used in _WITHOUT_TREES
        return not known or self.tree_terms or self.sampler == "dtlns"

    @property
    def prepares(self) -> bool:
        """Whether the stages before training have anything to do."""
        return self.relabels or self.leaking or self.loss_debiased or (self.selects and self.reads_trees)

    @property
    def active(self) -> bool:
        """False when the run is plain RecBole."""
        return self.relabels or self.selects or self.leaking

    @property
    def leaking(self) -> bool:
        """Whether the evaluation mask is allowed to hold pseudo-positives (protocol `authors`)."""
        return self.protocol == "authors"


def _check_sampler(name: str) -> None:
    choices = [*SAMPLERS.names(), RECBOLE_SAMPLER]
    if name not in choices:
        raise ConfigError(f"unknown sampler '{name}'. Choices: {', '.join(choices)}.{nearest(name, choices)}")


def _check_teacher(name: str) -> None:
    own = [*TEACHERS.names(), "checkpoint"]
    if name in own:
        return
    try:
        resolve_model(name)
    except UnknownNameError:
        raise UnknownNameError(
            f"unknown teacher '{name}'. Choices: {', '.join(own)}, or a RecBole general recommender."
            f"{nearest(name, [*own, *CAPABILITIES])}"
        ) from None


def _explain(detail: Any) -> str:
    key = PREFIX + ".".join(str(part) for part in detail["loc"])
    problem = detail["msg"].removeprefix("Value error, ")
    found = detail["input"].plain() if isinstance(detail["input"], Schedule) else detail["input"]
    return f"{key}: {problem[0].lower()}{problem[1:]}, not {found!r}"
