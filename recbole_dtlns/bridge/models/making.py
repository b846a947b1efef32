"""A model, made by its own constructor."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_dtlns.bridge.repairs.graph_packages import mend_graph_models
from recbole_dtlns.errors import ConfigError


def make_model(config: Any, dataset: Dataset) -> AbstractRecommender:
    """A run's model, on its device.

    Args:
        config: of the run.
        dataset: what the constructor is given.

    Raises:
        ConfigError: the constructor refuses the settings, in its own words.
    """
    try:
        return constructed(config, dataset)
    except (ValueError, NotImplementedError, KeyError) as error:  # of RecBole's models, for values they cannot take
        said = f"it knows no value {error}" if isinstance(error, KeyError) else str(error)
        unsaid = "one has a value that it does not know, and it does not say which"
        raise ConfigError(f"{config['model']} cannot be made with these settings: {said or unsaid}") from error


def constructed(config: Any, dataset: Dataset) -> AbstractRecommender:
    """The same, with the errors of the constructor as they are."""
    if config.kind.reads_facts:
        mend_graph_models()
    # KGIN and MCCLK divide by the degrees of all nodes, the padding's among them, and then set what is infinite to 0.
    with np.errstate(divide="ignore") if config.kind.reads_facts else nullcontext():
        network: AbstractRecommender = config.model_class(config, dataset)
    return network.to(config["device"])
