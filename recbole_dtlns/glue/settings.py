"""The `dtlns_*` keys of a configuration, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recbole_dtlns.errors import ConfigError, UnknownNameError
from recbole_dtlns.glue.models import CAPABILITIES, resolve_model
from recbole_dtlns.judge.table import JUDGES
from recbole_dtlns.negatives.selection import SELECTORS
from recbole_dtlns.registry import nearest
from recbole_dtlns.teacher.table import TEACHERS

PREFIX = "dtlns_"
RECBOLE_SAMPLER = "recbole"


class DTLNSSettings(BaseModel):
    """One field per `dtlns_*` key; `properties/dtlns.yaml` says what each means."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    preset: Literal["clean", "authors", "off"] = "clean"
    protocol: Literal["clean", "authors"] = "clean"
    cache_dir: str | None = None
    refuse_damaged: bool = False
    seed: int = Field(42, ge=0)

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
    tree_branching: int = Field(4, ge=2)
    tree_leaf_size: int = Field(30, ge=1)
    tree_balance: Literal["regret", "none", "authors"] = "regret"
    tree_min_share: float = Field(0.4, ge=0, le=1)
    tree_max_share: float = Field(1.6, ge=1)
    structure_paths: str | None = None
    semantic_paths: str | None = None

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
    relabel_weight: float = Field(0.3, gt=0, le=1)
    relabel_top: int = Field(5, ge=0)
    relabel_order: Literal["rank", "probability"] = "rank"
    relabel_graph: bool = False

    sampler: str = "dtlns"
    n_candidates: int = Field(10, ge=1)
    alpha_co: float = Field(0.1, ge=0)
    alpha_se: float = Field(0.3, ge=0)
    tree_terms: bool = False
    dns_top: int = Field(5, ge=1)
    ahns_alpha: float = 1.0
    ahns_beta: float = Field(0.1, gt=0)
    ahns_power: float = -2.0

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
        if self.sampler == "dns_mn" and self.dns_top > self.n_candidates:
            raise ConfigError(
                f"dtlns_dns_top ({self.dns_top}) must not exceed dtlns_n_candidates ({self.n_candidates}), from which "
                "dns_mn takes the best"
            )
        if self.teacher == "checkpoint" and self.teacher_checkpoint is None:
            raise ConfigError("dtlns_teacher: checkpoint needs dtlns_teacher_checkpoint, the path of a best.pth")
        if self.tree_leaf_size < self.tree_branching:
            raise ConfigError(
                f"dtlns_tree_leaf_size ({self.tree_leaf_size}) must be at least "
                f"dtlns_tree_branching ({self.tree_branching}), or a node could have fewer items than children"
            )
        return self

    @property
    def relabels(self) -> bool:
        """Whether any positive verdict changes training."""
        return self.relabel_exclude or self.relabel_add or self.relabel_graph

    @property
    def selects(self) -> bool:
        """Whether a selector of this package chooses the negatives."""
        return self.sampler != RECBOLE_SAMPLER

    @property
    def drawn(self) -> int:
        """Candidates drawn for every negative."""
        return self.n_candidates if self.selects and self.sampler != "rns" else 1

    @property
    def active(self) -> bool:
        """False when the run is plain RecBole."""
        return self.relabels or self.selects or self.leaking

    @property
    def leaking(self) -> bool:
        """Whether the evaluation mask is allowed to hold pseudo-positives (protocol `authors`)."""
        return self.protocol == "authors"


def _check_sampler(name: str) -> None:
    choices = [*SELECTORS.names(), RECBOLE_SAMPLER]
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
    return f"{key}: {detail['msg'][0].lower()}{detail['msg'][1:]}, not {detail['input']!r}"
