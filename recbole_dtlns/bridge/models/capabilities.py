"""RecBole's general recommenders, and what DTL-NS can do for each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recbole
from recbole.utils import ModelType, get_model

from recbole_dtlns.bridge.models.council import Council
from recbole_dtlns.errors import UnknownNameError, UnsupportedModelError
from recbole_dtlns.negatives.vectors.contract import LayerJoin
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.table import TEACHERS

_RECBOLE_MODELS = Path(recbole.__file__).parent / "model" / "general_recommender"


@dataclass(frozen=True)
class Layers:
    """How a model holds embeddings layer by layer, if its score is the dot product of a user's and an item's.

    Attributes:
        join: how it joins its layers.
        arguments: what its loss gives to `forward`, which then propagates and returns all users' and all items'
            vectors; None where the embedding tables are all (matrix factorisation).
    """

    join: LayerJoin
    arguments: Callable[[Any], tuple[Any, ...]] | None = None


def _nothing(_: Any) -> tuple[Any, ...]:
    return ()


def _train_graph(model: Any) -> tuple[Any, ...]:
    return (model.train_graph,)


@dataclass(frozen=True)
class Capability:
    """What a model can take.

    Attributes:
        negatives: its loss reads negative item ids, so hard negatives and weighted positive rows reach it.
        graph: its constructor reads the interactions (graph, history or matrix), so `dtlns_relabel_graph` reaches it.
        why: what limits it, in a few words for the guide's table; empty where nothing does.
        state: attributes that training changes outside the weights, and that RecBole's checkpoints forget.
        fitted: attributes that hold all that a closed-form model scores by, where checkpoints hold these; a saved model
            is given them, and not fitted again.
        layers: how negatives can be made of its embeddings; None where they cannot.
        no_layers: why they cannot; empty where the model takes no negatives at all.
        bpr_term: its loss holds RecBole's `BPRLoss`, which another ranking loss can take the place of.
        sums_rows: its loss is a sum over the rows of a batch, where others take the mean.
    """

    negatives: bool
    graph: bool
    why: str = ""
    state: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    layers: Layers | None = None
    no_layers: str = ""
    bpr_term: bool = False
    sums_rows: bool = False

    @property
    def takes_lists(self) -> bool:
        """Whether a loss over a user's whole list can take the place of its own."""
        return self.layers is not None and self.bpr_term


_NO_NEGATIVES = "trains on whole user histories; its loss has no negative items"
_NETWORK = "scores by a network, not by the product of two vectors"
_HISTORY = "makes the user's vector from the history's items"
_LOSSES_BY_STEP = ("Lt_history", "Lt_count")
_CLOSED_FORM = "fitted to the matrix without sampled negatives"
_SIMILARITY, _PREDICTIONS = ("interaction_matrix", "item_similarity"), ("pred_mat",)

CAPABILITIES: dict[str, Capability] = {
    "ADMMSLIM": Capability(False, True, _CLOSED_FORM),
    "AsymKNN": Capability(False, True, _CLOSED_FORM, fitted=_PREDICTIONS),
    "BPR": Capability(True, False, layers=Layers("mean"), bpr_term=True),
    "CDAE": Capability(False, True, _NO_NEGATIVES),
    "ConvNCF": Capability(True, False, no_layers=_NETWORK, sums_rows=True),
    "DGCF": Capability(True, True, layers=Layers("mean", _nothing), bpr_term=True),
    "DMF": Capability(True, True, no_layers=_NETWORK),
    "DiffRec": Capability(False, True, _NO_NEGATIVES, _LOSSES_BY_STEP),
    "EASE": Capability(False, True, _CLOSED_FORM, fitted=_SIMILARITY),
    "ENMF": Capability(False, True, "weighs all unobserved items instead of drawing some"),
    "FISM": Capability(True, True, no_layers=_HISTORY),
    "GCMC": Capability(True, True, no_layers="scores by several bilinear forms"),
    "ItemKNN": Capability(False, True, _CLOSED_FORM, fitted=_PREDICTIONS),
    "LDiffRec": Capability(False, True, _NO_NEGATIVES, (*_LOSSES_BY_STEP, "update_count", "update_count_vae")),
    "LINE": Capability(
        True,
        True,
        "half of its batches draw negative users instead",
        ("random_list", "random_pr"),
        no_layers="its second order has item vectors of another kind",
    ),
    "LightGCN": Capability(True, True, layers=Layers("mean", _nothing), bpr_term=True),
    "MacridVAE": Capability(False, True, _NO_NEGATIVES, ("update",)),
    "MultiDAE": Capability(False, True, _NO_NEGATIVES),
    "MultiVAE": Capability(False, True, _NO_NEGATIVES, ("update",)),
    "NAIS": Capability(True, True, no_layers=_HISTORY),
    "NCEPLRec": Capability(False, True, _CLOSED_FORM),
    "NCL": Capability(True, True, "needs the package faiss-cpu", layers=Layers("mean", _nothing), bpr_term=True),
    "NGCF": Capability(True, True, layers=Layers("concat", _nothing), bpr_term=True),
    "NNCF": Capability(True, True, no_layers=_NETWORK),
    "NeuMF": Capability(True, False, no_layers=_NETWORK),
    "Pop": Capability(False, False, "counts the item column, negatives included: hard negatives would become popular"),
    "RaCT": Capability(False, True, _NO_NEGATIVES, ("update",)),
    "Random": Capability(False, False, "does not learn"),
    "RecVAE": Capability(False, True, _NO_NEGATIVES),
    "SGL": Capability(True, True, layers=Layers("mean", _train_graph), sums_rows=True),
    "SLIMElastic": Capability(False, True, _CLOSED_FORM, fitted=_SIMILARITY),
    "SimpleX": Capability(True, True, no_layers=_HISTORY),
    "SpectralCF": Capability(True, True, layers=Layers("concat", _nothing), bpr_term=True),
}


def capability_table() -> str:
    """The table of the guide: for each of RecBole's general recommenders, what DTL-NS does for it."""
    lines = [
        "| model | negatives by id, rows | as vectors | `dtlns_loss` | positives in graph or matrix | remark |",
        "|---|---|---|---|---|---|",
    ]
    for name, able in sorted(CAPABILITIES.items(), key=lambda entry: (not entry[1].negatives, entry[0].lower())):
        marks = (able.negatives, able.layers is not None, able.bpr_term, able.graph)
        remarks = "; ".join(filter(None, (able.why, able.no_layers and f"no vectors: {able.no_layers}")))
        lines.append(f"| {name} | {' | '.join('yes' if mark else 'no' for mark in marks)} | {remarks} |")
    return "\n".join(lines)


def capability(model_class: type) -> Capability:
    """The capability of a model class: that of the nearest built-in class it inherits from.

    A general recommender of somebody else's that inherits from none is taken at its word: it gets negatives and
    reads its data set, and if its loss holds a `BPRLoss`, that is found when training starts.
    """
    for base in model_class.__mro__:
        if base.__module__.startswith("recbole.model.") and base.__name__ in CAPABILITIES:
            return CAPABILITIES[base.__name__]
    return Capability(negatives=True, graph=True, no_layers="inherits from none of RecBole's", bpr_term=True)


def is_closed_form(config: Any) -> bool:
    """Whether a run's model is computed in one pass, as EASE and ItemKNN are."""
    return config["MODEL_TYPE"] == ModelType.TRADITIONAL


def check_model(model_class: type, settings: DTLNSSettings) -> None:
    """Refuse what the model cannot take, before any work is done.

    Raises:
        UnsupportedModelError: the message says why, and which settings would work.
    """
    able = capability(model_class)
    name = model_class.__name__
    if issubclass(model_class, Council) and not settings.method_class.guides:
        raise UnsupportedModelError(
            f"{name} ranks by a judge's verdicts, and dtlns_method: {settings.method} judges nothing: set dtlns_method"
        )
    if not settings.active:
        return
    if not able.negatives and not able.graph:
        raise UnsupportedModelError(f"DTL-NS cannot help {name}: it {able.why}. Run it with --dtlns_preset=off")
    through_rows = settings.selects or settings.relabel_add or settings.relabel_exclude
    if not able.negatives and through_rows:
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
    if settings.shares_negatives and able.layers is None:
        raise UnsupportedModelError(
            f"dtlns_loss: {settings.loss} needs one vector per user and item: {name} {able.no_layers}. Models that "
            f"have them: {_names('layers')}"
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


def check_teacher(name: str) -> None:
    """Refuse a teacher that is neither a component, nor a checkpoint, nor a model of RecBole's or somebody else's.

    Raises:
        UnknownNameError: the message lists the choices, and names the nearest.
    """
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


def _names(attribute: str) -> str:
    """The models that have it."""
    return ", ".join(name for name, able in CAPABILITIES.items() if getattr(able, attribute))


def resolve_model(model: str | type) -> type:
    """The model class for a class, `package.module:Class`, or the name of a RecBole general recommender.

    Raises:
        UnknownNameError: there is no such model; the nearest name is given.
        UnsupportedModelError: the class is not a general recommender.
    """
    if isinstance(model, type):
        found = model
    elif model == Council.__name__:
        found = Council
    elif ":" in model:
        module, _, name = model.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UnknownNameError(f"cannot import the model '{model}': {error}") from error
    else:
        try:
            found = get_model(model)
        except ModuleNotFoundError as error:
            if (
                error.name
                and not error.name.startswith("recbole")
                and (_RECBOLE_MODELS / f"{model.lower()}.py").exists()
            ):
                raise UnsupportedModelError(
                    f"{model} needs the package '{error.name}': pip install it first"
                ) from error
            raise _unknown_model(model) from None
        except (ValueError, AttributeError):
            raise _unknown_model(model) from None
    kind = getattr(found, "type", None)
    if kind not in (ModelType.GENERAL, ModelType.TRADITIONAL):
        raise UnsupportedModelError(
            f"{found.__name__} is not a general recommender (its type is {getattr(kind, 'name', kind)}); "
            "recbole_dtlns trains on user-item pairs: sequential, context-aware and knowledge models are outside it"
        )
    return found


def _unknown_model(name: str) -> UnknownNameError:
    return UnknownNameError(
        f"unknown model '{name}'.{nearest(name, CAPABILITIES)} Names are RecBole's general recommenders, "
        "case-sensitive; for your own class write package.module:Class"
    )
