"""The samplers by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.negatives.choosing.adaptive import AHNS
from recbole_dtlns.negatives.choosing.contract import ItemSampler
from recbole_dtlns.negatives.choosing.first_drawn import FirstDrawn, FirstPopular
from recbole_dtlns.negatives.choosing.hardest import DNS, DNSMN, MultiView
from recbole_dtlns.negatives.choosing.remembered import SRNS
from recbole_dtlns.negatives.vectors.contract import VectorSampler
from recbole_dtlns.negatives.vectors.disentangled import DENS
from recbole_dtlns.negatives.vectors.mixing import MixGCF, MixingSampler
from recbole_dtlns.registry import Registry

SAMPLERS: Registry[ItemSampler | VectorSampler] = Registry(
    "sampler",
    "recbole_dtlns.samplers",
    {
        "dtlns": MultiView,
        "rns": FirstDrawn,
        "popularity": FirstPopular,
        "dns": DNS,
        "dns_mn": DNSMN,
        "ahns": AHNS,
        "srns": SRNS,
        "mixgcf": MixGCF,
        "dens": DENS,
    },
)


def make_sampler(name: str, flat: Mapping[str, Any], mixing: bool = False) -> ItemSampler | VectorSampler:
    """The sampler registered as `name`, not yet begun.

    Args:
        name: as registered.
        flat: values by flat key, without `dtlns_`.
        mixing: mix the positive into what it chooses.

    Raises:
        UnknownNameError: nothing is registered under that name.
        ConfigError: a value is wrong, or the sampler is not mixable.
    """
    sampler = SAMPLERS.make(name, flat)
    if not mixing:
        return sampler
    if not isinstance(sampler, ItemSampler) or not sampler.mixable:
        raise ConfigError(f"dtlns_mixing is not for dtlns_sampler: {name}")
    return MixingSampler(sampler)
