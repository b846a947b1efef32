"""The `dtlns_*` keys of a configuration: those of the run, and those of every component, checked together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr, ValidationError, create_model, model_validator

from recbole_dtlns.components import PREFIX, explained
from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.losses.contract import ListLoss, RowLoss, SharedLoss
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.methods.contract import Method
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.negatives.choosing.contract import ItemSampler
from recbole_dtlns.negatives.pools.contract import CandidatePool
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.negatives.vectors.contract import VectorSampler
from recbole_dtlns.numerics.schedule import Schedule
from recbole_dtlns.preparation.judging import Judging
from recbole_dtlns.preparation.stage import StoreConfig
from recbole_dtlns.preparation.teaching import Teaching
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings import groups
from recbole_dtlns.settings.checks import check_together, chosen_components
from recbole_dtlns.settings.groups import AUTO_LOSS, MODEL_LOSS, RECBOLE_SAMPLER
from recbole_dtlns.settings.judge_and_engine import engine_apart
from recbole_dtlns.settings.owners import Owner, broken_plug_ins, config_of, keys_of, owners
from recbole_dtlns.settings.renamed import under_new_names


class DTLNSSettings(
    groups.TrainingKeys,
    groups.LossKeys,
    groups.PoolKeys,
    groups.NegativeKeys,
    groups.RelabelKeys,
    Judging.Config,
    Teaching.Config,
    StoreConfig,
    groups.RunKeys,
):
    """What a run is told. `from_config` adds the keys of components, which are in `flat` and have no attribute here."""

    prefix = ""
    without_default: ClassVar[frozenset[str]] = frozenset()  # keys of components that have none
    _flat: dict[str, Any] = PrivateAttr()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DTLNSSettings:
        """Read the `dtlns_*` keys of a flat configuration; other keys are RecBole's and left alone.

        Raises:
            ConfigError: a key is unknown (the nearest one is named), a value is wrong, or two contradict.
        """
        given = {key: value for key, value in config.items() if key.startswith(PREFIX)}
        given = engine_apart(under_new_names(given, "the configuration"))
        assembled = _assembled(tuple(owners()))
        known = [PREFIX + name for name in assembled.model_fields]
        for key in given:
            if key not in known:
                broken = "".join(f"; {message}" for message in broken_plug_ins())
                raise ConfigError(
                    f"unknown key '{key}'.{nearest(key, known, PREFIX)} All keys: recbole-dtlns keys{broken}"
                )
        try:
            return assembled(**_with_what_is_brought({key.removeprefix(PREFIX): given[key] for key in given}))
        except ValidationError as error:
            raise ConfigError(explained(error, lambda name: PREFIX + name)) from None

    def model_post_init(self, context: Any, /) -> None:
        """It is frozen, and read often: so its values by key are gathered once."""
        # A model with a method `keys` would be taken for a mapping.
        self._flat = {key: value for key, value in iter(self) if value is not None or key not in self.without_default}

    @model_validator(mode="after")
    def _check_together(self) -> DTLNSSettings:
        check_together(self)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The class with the keys of components is made anew wherever it is needed, so it cannot be found by its name.
        return DTLNSSettings.from_config, ({PREFIX + key: value for key, value in self.flat.items()},)

    @property
    def flat(self) -> dict[str, Any]:
        """Every value by its key without `dtlns_`: what components are made from."""
        return dict(self._flat)

    @property
    def of_chosen(self) -> dict[str, Any]:
        """The keys that the chosen components read, as a configuration file holds them."""
        plain = self.model_dump()
        found: dict[str, Any] = {}
        for table, name in chosen_components(self):
            config = config_of(table.get(name))
            found |= {key: plain[key] for key in (config.keys(name) if config else ())}
        return found

    @property
    def method_class(self) -> type[Method]:
        """What turns train data into guidance.

        Raises:
            UnknownNameError: nothing is registered under the name.
            ContractError: somebody else's is no method.
        """
        return _method_class(self.method)

    @property
    def relabels(self) -> bool:
        """Whether any pair that the method names changes training."""
        return self.method_class.guides and (self.relabel_exclude or self.relabel_add or self.relabel_graph)

    @property
    def selects(self) -> bool:
        """Whether a sampler of this package, or of somebody else, chooses the negatives."""
        return self.sampler != RECBOLE_SAMPLER

    @property
    def makes_rows(self) -> bool:
        """Whether training rows are made here: negatives chosen or kept from being drawn, or positives added."""
        return self.active and (self.selects or self.relabel_add or self.relabel_exclude)

    @property
    def sampler_class(self) -> type[ItemSampler] | type[VectorSampler] | None:
        """What chooses or makes the negatives, where it is not RecBole.

        Raises:
            UnknownNameError: nothing is registered under the name.
            ContractError: somebody else's is no sampler.
        """
        if not self.selects:
            return None
        found = SAMPLERS.get(self.sampler)
        if isinstance(found, type) and issubclass(found, (ItemSampler, VectorSampler)):
            return found
        raise ContractError(f"the sampler '{self.sampler}' is no subclass of ItemSampler or VectorSampler: {found!r}")

    @property
    def pool_used(self) -> str:
        """Name of the pool that candidates are drawn from."""
        return (self.sampler_class and self.sampler_class.own_pool) or self.pool

    @property
    def pool_class(self) -> type[CandidatePool]:
        """The pool that candidates are drawn from.

        Raises:
            UnknownNameError: nothing is registered under the name.
            ContractError: somebody else's is no pool.
        """
        found = POOLS.get(self.pool_used)
        if isinstance(found, type) and issubclass(found, CandidatePool):
            return found
        raise ContractError(f"the pool '{self.pool_used}' is no subclass of CandidatePool: {found!r}")

    @property
    def loss_class(self) -> type[RowLoss] | type[SharedLoss] | type[ListLoss] | None:
        """What takes the place of the model's BPR term; None where nothing is named that does.

        Raises:
            UnknownNameError: nothing is registered under the name.
            ContractError: somebody else's is no loss.
        """
        if self.loss in (MODEL_LOSS, AUTO_LOSS):
            return None
        return _loss_class(self.loss)

    @property
    def drawn_once(self) -> bool:
        """Whether the negative is what was drawn, so that one candidate is enough."""
        return self.sampler_class is None or self.sampler_class.draws_once

    def drawn(self, n_items: int) -> Schedule:
        """Candidates drawn for every negative out of a catalogue of this size, by epoch."""
        if self.drawn_once:
            return Schedule.constant(1)
        return self.n_candidates.at_most(max(1, n_items // self.hardest_rank))

    def loss_for(self, bpr_term: bool) -> str:
        """The loss of a model, which has a BPR term or not."""
        return self.loss if self.loss != AUTO_LOSS else "bpr" if bpr_term and self.selects else MODEL_LOSS

    @property
    def shares_negatives(self) -> bool:
        """Whether the loss is over negatives that a batch shares."""
        return self.loss_class is not None and self.loss_class.shares_negatives

    @property
    def takes_lists(self) -> bool:
        """Whether a row of a batch is a user with all its items."""
        return self.loss_class is not None and self.loss_class.takes_lists

    @property
    def reads_judged(self) -> bool:
        """Whether the loss looks at the judge's probabilities."""
        return self.loss_debiased or (self.loss_class is not None and self.loss_class.reads_judged)

    @property
    def list_loss(self) -> ListLoss | None:
        """The loss over whole lists, where it is one."""
        loss = LOSSES.make(self.loss, self.flat) if self.takes_lists else None
        return loss if isinstance(loss, ListLoss) else None

    @property
    def draws_for_lists(self) -> bool:
        """Whether lists are drawn from the pool, because the catalogue is large."""
        return self.list_loss is not None and self.list_loss.config.items > 0

    @property
    def makes_vectors(self) -> bool:
        """Whether negatives are made of embeddings instead of chosen by id."""
        by_sampler = self.sampler_class is not None and issubclass(self.sampler_class, VectorSampler)
        return self.mixing or by_sampler or self.method_class.generates

    @property
    def tree_terms_wanted(self) -> bool:
        """Whether tree terms are added to the hardness of a sampler that need not have them."""
        return bool(self.flat.get("tree_terms", False))

    @property
    def reads_trees(self) -> bool:
        """Whether the choice of negatives looks at the item trees."""
        sampler = self.sampler_class
        by_sampler = sampler is not None and (
            sampler.reads_trees or (sampler.takes_tree_terms and self.tree_terms_wanted)
        )
        return by_sampler or self.pool_class.reads_trees

    @property
    def prepares(self) -> bool:
        """Whether the method has anything to do before training."""
        wanted = self.relabels or self.leaking or self.reads_judged or (self.selects and self.reads_trees)
        return self.method_class.guides and (wanted or not self.method_class.on_demand)

    @property
    def active(self) -> bool:
        """False when the run is plain RecBole."""
        always = self.method_class.guides and not self.method_class.on_demand
        return self.relabels or self.selects or self.takes_lists or self.leaking or always

    @property
    def leaking(self) -> bool:
        """Whether the evaluation mask is allowed to hold pseudo-positives (protocol `authors`)."""
        return self.protocol == "authors"


def _method_class(name: str) -> type[Method]:
    found = METHODS.get(name)
    if isinstance(found, type) and issubclass(found, Method):
        return found
    raise ContractError(f"the method '{name}' is no subclass of Method: {found!r}")


def _loss_class(name: str) -> type[RowLoss] | type[SharedLoss] | type[ListLoss]:
    found = LOSSES.get(name)
    if isinstance(found, type) and issubclass(found, (RowLoss, SharedLoss, ListLoss)):
        return found
    raise ContractError(f"the loss '{name}' is no subclass of RowLoss, SharedLoss or ListLoss: {found!r}")


def _with_what_is_brought(given: dict[str, Any]) -> dict[str, Any]:
    """The same keys, with the sampler of a method that brings one, and without what a loss over lists does without."""
    own = _method_class(given.get("method", DTLNSSettings.model_fields["method"].default)).own_sampler
    loss = given.get("loss")
    if loss in LOSSES.names() and _loss_class(loss).takes_lists:
        return {**given, "sampler": RECBOLE_SAMPLER, "relabel_add": False, "relabel_exclude": False}
    return given if own is None else {**given, "sampler": own}


@lru_cache(maxsize=8)
def _assembled(readers: tuple[Owner, ...]) -> type[DTLNSSettings]:
    """The settings with the keys of components as further fields."""
    keys = [key for key in keys_of(readers).values() if key.name not in DTLNSSettings.model_fields]
    for key in keys:
        if key.name.startswith("_") or hasattr(DTLNSSettings, key.name):
            raise ConfigError(
                f"{PREFIX}{key.name}, which {key.owners[0][0]} reads, is a name that no key can have: rename the "
                "field, or uninstall the package"
            )
    further: dict[str, Any] = {key.name: (key.field.annotation, copy.copy(key.field)) for key in keys}
    # Only runs that choose the component need such a key: its own check asks for it.
    needed = frozenset(key.name for key in keys if key.field.is_required())
    further |= {name: (Any, Field(None, description=further[name][1].description)) for name in needed}
    assembled = create_model("DTLNSSettings", __base__=DTLNSSettings, **further)
    assembled.without_default = needed
    return assembled
