"""The kinds of RecBole's models that this package trains: what it says of each, and what sets one apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recbole.utils import ModelType

from recbole_dtlns.bridge.models.capability import PAIRWISE, SOFTMAX, Capability
from recbole_dtlns.bridge.models.context import CONTEXT
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.bridge.models.knowledge import KNOWLEDGE
from recbole_dtlns.bridge.models.sequential import SEQUENTIAL


@dataclass(frozen=True)
class Kind:
    """A kind of models.

    Attributes:
        name: what RecBole calls them.
        models: RecBole's own, with what each can take.
        otherwise: what a model of somebody else's is taken to take, which inherits from none of these.
        columns: of the guide's table, whether a model has what they say.
        no_vectors: how the table begins the reason why a model has none; empty where that is so for the whole kind.
        ordered: whether a row is a step of a user's sequence: an item, and those before it.
        featured: whether its models read the features of users, items and rows.
        reads_facts: whether it learns from a graph of facts about items, too.
    """

    name: str
    models: Mapping[str, Capability]
    otherwise: Capability
    columns: Mapping[str, Callable[[Capability], bool]]
    no_vectors: str
    ordered: bool = False
    featured: bool = False
    reads_facts: bool = False


_NOT_RECBOLES = "inherits from none of RecBole's"
_GENERAL = Kind(
    "general",
    GENERAL,
    Capability(negatives=True, graph=True, no_layers=_NOT_RECBOLES, bpr_term=True),
    {
        "negatives by id, rows": lambda able: able.negatives,
        "as vectors": lambda able: able.layers is not None,
        "`dtlns_loss`": lambda able: able.bpr_term,
        "positives in graph or matrix": lambda able: able.graph,
    },
    "no vectors: ",
)
_SEQUENTIAL = Kind(
    "sequential",
    SEQUENTIAL,
    Capability(negatives=True, graph=False, no_layers=_NOT_RECBOLES, bpr_term=True, forms=(SOFTMAX, PAIRWISE)),
    {
        "negatives by id, rows": lambda able: able.negatives,
        "its softmax": lambda able: able.by_softmax,
        "`dtlns_loss`": lambda able: able.bpr_term,
        "`sampled_softmax`, `gbce`": lambda able: able.sequence_items is not None,
    },
    "no products: ",
    ordered=True,
)
_CONTEXT = Kind(
    "context-aware",
    CONTEXT,
    Capability(negatives=True, graph=False, no_layers=_NOT_RECBOLES, labels=True),
    {
        "negatives by id, rows": lambda able: able.negatives,
        "labels of rows": lambda able: able.labels,
    },
    "",
    featured=True,
)
_KNOWLEDGE = Kind(
    "knowledge-aware",
    KNOWLEDGE,
    _GENERAL.otherwise,
    _GENERAL.columns,
    _GENERAL.no_vectors,
    reads_facts=True,
)
KINDS: dict[ModelType, Kind] = {
    ModelType.GENERAL: _GENERAL,
    ModelType.TRADITIONAL: _GENERAL,
    ModelType.SEQUENTIAL: _SEQUENTIAL,
    ModelType.CONTEXT: _CONTEXT,
    ModelType.KNOWLEDGE: _KNOWLEDGE,
}
CAPABILITIES: dict[str, Capability] = {name: able for kind in KINDS.values() for name, able in kind.models.items()}


def kind_of(model_class: type) -> Kind:
    """The kind of a model class; what says nothing of itself counts as general."""
    return KINDS.get(getattr(model_class, "type", None), _GENERAL)


def capability(model_class: type) -> Capability:
    """The capability of a model class: that of the nearest built-in class it inherits from.

    One of somebody else's that inherits from none is taken at its word: it gets negatives, and if its loss holds a
    `BPRLoss`, that is found when training starts.
    """
    for base in model_class.__mro__:
        if base.__module__.startswith("recbole.model.") and base.__name__ in CAPABILITIES:
            return CAPABILITIES[base.__name__]
    return kind_of(model_class).otherwise


def capability_table(kind: Kind) -> str:
    """The table of the guide: for each of RecBole's models of a kind, what DTL-NS does for it."""
    lines = [f"| model | {' | '.join(kind.columns)} | remark |", "|---" * (len(kind.columns) + 2) + "|"]
    for name, able in sorted(kind.models.items(), key=lambda entry: (not entry[1].negatives, entry[0].lower())):
        marks = ("yes" if has(able) else "no" for has in kind.columns.values())
        none = kind.no_vectors and able.no_layers and able.sequence_items is None
        why_none = f"{kind.no_vectors}{able.no_layers}" if none else ""
        lines.append(f"| {name} | {' | '.join(marks)} | {'; '.join(filter(None, (able.why, why_none)))} |")
    return "\n".join(lines)
