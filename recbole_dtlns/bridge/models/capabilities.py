"""What one of RecBole's models, by name or class, can take; what it cannot is refused before any work."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import recbole
from recbole.utils import ModelType, get_model

from recbole_dtlns.bridge.models.capability import PAIRWISE, SOFTMAX, Capability
from recbole_dtlns.bridge.models.context import DECISION_TREES
from recbole_dtlns.bridge.models.council import Council
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.bridge.models.kinds import CAPABILITIES, KINDS, capability, kind_of
from recbole_dtlns.bridge.repairs.anomaly_mode import anomaly_mode_kept
from recbole_dtlns.errors import UnknownNameError, UnsupportedModelError
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.table import TEACHERS

_RECBOLE_MODELS = Path(recbole.__file__).parent / "model"


def is_closed_form(config: Any) -> bool:
    """Whether a run's model is computed in one pass, as EASE and ItemKNN are."""
    return config["MODEL_TYPE"] == ModelType.TRADITIONAL


def check_model(config: Any) -> None:
    """Refuse what the model cannot take, before any work is done.

    Args:
        config: of the run.

    Raises:
        UnsupportedModelError: the message says why, and which settings would work.
    """
    model_class: type = config.model_class
    settings: DTLNSSettings = config.settings
    able = capability(model_class)
    name = model_class.__name__
    if issubclass(model_class, Council) and not settings.method_class.guides:
        raise UnsupportedModelError(
            f"{name} ranks by a judge's verdicts, and dtlns_method: {settings.method} judges nothing: set dtlns_method"
        )
    if kind_of(model_class).ordered and config["MODEL_INPUT_TYPE"] is None and config["loss_type"]:
        raise UnsupportedModelError(f"{name} has no loss_type: {config['loss_type']}: set it to CE or BPR")
    if not settings.active:
        return
    if not able.negatives and not able.graph and not able.forms:
        raise UnsupportedModelError(f"DTL-NS cannot help {name}: it {able.why}. Run it with --dtlns_preset=off")
    if able.stage is not None and config[able.stage[0]] != able.stage[1]:
        key, value = able.stage
        raise UnsupportedModelError(
            f"DTL-NS cannot help {name} while {key} is {config[key]}: set it to {value}, or use dtlns_preset: off"
        )
    if kind_of(model_class).ordered:
        _check_sequential(config, able)
    through_rows = settings.selects or settings.relabel_add or settings.relabel_exclude
    if not able.negatives and through_rows and not config.by_softmax:
        raise UnsupportedModelError(
            f"{name} takes neither negatives nor training rows from a loader: {able.why}. Pseudo-positives can reach "
            "it only through its data: set dtlns_preset: off and dtlns_relabel_graph: True"
        )
    if settings.makes_vectors and able.layers is None:
        raise UnsupportedModelError(
            f"{name} takes no negatives that are vectors: it {able.no_layers or able.why}. Models that do: "
            f"{_names('layers')}. "
            + (
                f"dtlns_method: {settings.method} makes such; dtlns_method: dtlns does not"
                if settings.method_class.generates
                else "Use a sampler at item-id level, such as dtlns_sampler: dns, or set dtlns_mixing: False"
            )
        )
    if settings.shares_negatives and not able.has_vectors:
        raise UnsupportedModelError(
            f"dtlns_loss: {settings.loss} needs one vector per user and item: {name} {able.no_layers or able.why}. "
            f"Models that have them: {_names('has_vectors')}"
        )
    if settings.takes_lists and not able.takes_lists:
        why = able.no_layers or able.why if able.layers is None else "keeps a loss of its own, which is no BPR term"
        raise UnsupportedModelError(
            f"dtlns_loss: {settings.loss} ranks all items by products of vectors, in place of a BPR term: {name} "
            f"{why}. Models that it is for: {_names('takes_lists')}. For {name}, set dtlns_loss to "
            + ("bpr" if able.bpr_term else "model")
        )
    if settings.loss_class is not None and not able.bpr_term:
        raise UnsupportedModelError(
            f"{name} has no BPR term that dtlns_loss: {settings.loss} could take the place of: set dtlns_loss to "
            f"model. Models that have one: {_names('bpr_term')}"
        )
    if not able.graph and settings.relabel_graph:
        raise UnsupportedModelError(
            f"{name} builds nothing from the interactions, so dtlns_relabel_graph has no effect on it: set it to False"
        )


def _check_sequential(config: Any, able: Capability) -> None:
    """What sets sequential models apart: they are trained by one of two forms of loss, and nothing masks evaluation."""
    settings: DTLNSSettings = config.settings
    name, form = config.model_class.__name__, config["loss_type"]
    if settings.leaking:
        raise UnsupportedModelError(
            f"dtlns_protocol: authors masks evaluation, and RecBole masks nothing for sequential models such as "
            f"{name}: set dtlns_protocol: clean"
        )
    if settings.hide_train:
        raise UnsupportedModelError(
            f"dtlns_hide_train hides pairs, and {name} would still meet them in its sequences: set it to 0"
        )
    if able.forms and form is not None and form not in able.forms:
        raise UnsupportedModelError(
            f"DTL-NS cannot change the loss_type {form} of {name}: set loss_type to {' or '.join(able.forms)}, or use "
            "dtlns_preset: off"
        )
    if not config.by_softmax:
        return
    if settings.selects:
        raise UnsupportedModelError(
            f"loss_type: {SOFTMAX} is a softmax over all items, so dtlns_sampler: {settings.sampler} has nothing to "
            "choose: set dtlns_sampler: recbole"
            + (
                f", or loss_type: {PAIRWISE}, or dtlns_loss, such as to sampled_softmax or gbce"
                if PAIRWISE in able.forms
                else ""
            )
        )


def check_teacher(name: str) -> None:
    """Refuse a teacher that is neither a component, nor a checkpoint, nor a model of RecBole's or somebody else's.

    Raises:
        UnknownNameError: the message lists the choices, and names the nearest.
        UnsupportedModelError: it is a model of another kind.
    """
    own = [*TEACHERS.names(), "checkpoint"]
    if name in own:
        return
    try:
        found = resolve_model(name)
    except UnknownNameError:
        raise UnknownNameError(
            f"unknown teacher '{name}'. Choices: {', '.join(own)}, or a RecBole general recommender."
            f"{nearest(name, [*own, *GENERAL])}"
        ) from None
    if kind_of(found).models is not GENERAL:
        raise UnsupportedModelError(
            f"{found.__name__} is no teacher: a teacher that RecBole trains sees pairs of user and item, and "
            f"{found.__name__} is a {kind_of(found).name} recommender. Name a general one, such as BPR"
        )


def _names(attribute: str) -> str:
    """The models that have it."""
    return ", ".join(name for name, able in CAPABILITIES.items() if getattr(able, attribute))


def resolve_model(model: str | type) -> type:
    """The model class for a class, `package.module:Class`, or the name of one of RecBole's models.

    Raises:
        UnknownNameError: there is no such model; the nearest name is given.
        UnsupportedModelError: the class is of a kind that this package does not train.
    """
    if isinstance(model, type):
        found = model
    elif model == Council.__name__:
        found = Council
    elif model in DECISION_TREES:
        raise UnsupportedModelError(
            f"{model} cannot be trained here: it {DECISION_TREES[model].why}. For its features and labels, DeepFM or LR"
        )
    elif ":" in model:
        module, _, name = model.partition(":")
        try:
            with anomaly_mode_kept():
                found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UnknownNameError(f"cannot import the model '{model}': {error}") from error
    else:
        try:
            with anomaly_mode_kept():
                found = get_model(model)
        except ModuleNotFoundError as error:
            if (
                error.name
                and not error.name.startswith("recbole")
                and any(_RECBOLE_MODELS.glob(f"*/{model.lower()}.py"))
            ):
                raise UnsupportedModelError(
                    f"{model} needs the package '{error.name}': pip install it first"
                ) from error
            raise _unknown_model(model) from None
        except (ValueError, AttributeError):
            raise _unknown_model(model) from None
    kind = getattr(found, "type", None)
    if kind not in KINDS:
        raise UnsupportedModelError(
            f"{found.__name__} is no {_kinds('or')} recommender (its type is {getattr(kind, 'name', kind)}): "
            "recbole_dtlns trains no others"
        )
    return found


def _unknown_model(name: str) -> UnknownNameError:
    return UnknownNameError(
        f"unknown model '{name}'.{nearest(name, CAPABILITIES)} Names are RecBole's {_kinds('and')} "
        "recommenders, case-sensitive; for your own class write package.module:Class"
    )


def _kinds(last: str) -> str:
    *names, name = dict.fromkeys(kind.name for kind in KINDS.values())
    return f"{', '.join(names)} {last} {name}"
