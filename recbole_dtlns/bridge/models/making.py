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
    except (ValueError, NotImplementedError) as error:  # what RecBole's models raise for values that they cannot take
        raise ConfigError(f"{config['model']} cannot be made with these settings: {error}") from error


def constructed(config: Any, dataset: Dataset) -> AbstractRecommender:
    """The same, with the errors of the constructor as they are."""
    if config.kind.reads_facts:
        mend_graph_models()
    # KGIN and MCCLK divide by the degrees of all nodes, the padding's among them, and then set what is infinite to 0.
    with np.errstate(divide="ignore") if config.kind.reads_facts else nullcontext():
        network: AbstractRecommender = config.model_class(config, dataset)
    return network.to(config["device"])
