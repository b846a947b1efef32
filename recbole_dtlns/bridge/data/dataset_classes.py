"""The class of a run's data set: what this package asks of it, in front of what RecBole has for the model."""

from __future__ import annotations

from typing import Any

import recbole.data.dataset as recbole_datasets
from recbole.data.dataset import Dataset, SequentialDataset

from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.knowledge import DTLNSKnowledgeDataset
from recbole_dtlns.bridge.data.sequences import DTLNSSequentialDataset

_MADE: dict[str, type[DTLNSDataset]] = {}


def dataset_class(config: Any, ours: type[DTLNSDataset] = DTLNSDataset) -> type[DTLNSDataset]:
    """The class of a run's data set.

    Args:
        config: of the run.
        ours: what is asked of the data set beside.
    """
    if config.kind.reads_facts:
        return _in_front(ours, DTLNSKnowledgeDataset)
    if not config.kind.ordered:
        return ours
    names = [f"{base.__name__}Dataset" for base in config.model_class.__mro__]
    of_model = next((getattr(recbole_datasets, name) for name in names if hasattr(recbole_datasets, name)), None)
    return _in_front(ours, DTLNSSequentialDataset, of_model or SequentialDataset)


def _in_front(ours: type[DTLNSDataset], *others: type[Dataset]) -> type[DTLNSDataset]:
    name = f"{ours.__name__}Of{others[-1].__name__}"
    if name not in _MADE:
        further = [] if ours is DTLNSDataset else [ours]
        _MADE[name] = type(name, (*further, *others), {})
    return _MADE[name]
