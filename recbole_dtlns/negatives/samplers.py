"""The samplers by name."""

from __future__ import annotations

from typing import Any

from recbole_dtlns.negatives.choosing.memory import MemorySampler
from recbole_dtlns.negatives.choosing.selection import (
    AdaptiveHardness,
    FirstDrawn,
    HardSampler,
    NegativeSampler,
    SamplerContext,
    TreeTerms,
    model_score,
    terms_if_wanted,
)
from recbole_dtlns.negatives.vectors.layers import DisentangledSampler, LayerSampler, MixingSampler
from recbole_dtlns.registry import Registry


def multi_view(context: SamplerContext) -> NegativeSampler:
    """`dtlns`: multi-view hard negatives (arXiv 2602.18249).

    q_j = minmax(score_j) + alpha_co * sim_structure(p, j) + alpha_se * sim_semantic(p, j); the negative is the
    candidate with the largest q. With `dtlns_mixing`, as the published code has it, per layer and mixed.
    """
    return _mixed_if_wanted(HardSampler(model_score, TreeTerms.from_context(context)), context)


def dns(context: SamplerContext) -> NegativeSampler:
    """`dns`: the candidate that the model scores highest."""
    return _mixed_if_wanted(HardSampler(model_score, terms_if_wanted(context)), context)


def dns_mn(context: SamplerContext) -> NegativeSampler:
    """`dns_mn` (Shi et al., WWW 2023): one of the M highest scored of N candidates."""
    rule = HardSampler(model_score, terms_if_wanted(context), top=context.settings.dns_top)
    return _mixed_if_wanted(rule, context)


def ahns(context: SamplerContext) -> NegativeSampler:
    """`ahns`: the hardness is adapted to each positive."""
    settings = context.settings
    rule = AdaptiveHardness(settings.ahns_alpha, settings.ahns_beta, settings.ahns_power)
    return _mixed_if_wanted(HardSampler(rule, terms_if_wanted(context), reads_positive_scores=True), context)


def mixgcf(context: SamplerContext) -> LayerSampler:
    """`mixgcf`: `dns`, mixed."""
    return MixingSampler(HardSampler(model_score, terms_if_wanted(context)))


def _mixed_if_wanted(rule: HardSampler, context: SamplerContext) -> NegativeSampler:
    return MixingSampler(rule) if context.settings.mixing else rule


SAMPLERS: Registry[NegativeSampler] = Registry(
    "sampler",
    "recbole_dtlns.samplers",
    {
        "dtlns": multi_view,
        "rns": FirstDrawn,
        "popularity": FirstDrawn,
        "dns": dns,
        "dns_mn": dns_mn,
        "ahns": ahns,
        "srns": MemorySampler,
        "mixgcf": mixgcf,
        "dens": DisentangledSampler,
    },
)


def make_sampler(name: str, context: SamplerContext) -> NegativeSampler:
    """The sampler registered as `name`: a class is made by its `from_context`, a function is called.

    Raises:
        UnknownNameError: nothing is registered under that name.
    """
    found: Any = SAMPLERS.get(name)
    return found.from_context(context) if hasattr(found, "from_context") else found(context)
