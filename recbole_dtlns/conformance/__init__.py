"""What components must hold to, as checks for the tests of your own; servers and data that such tests need.

    import pytest
    from recbole_dtlns.conformance import SAMPLER_CHECKS

    @pytest.mark.parametrize("check", SAMPLER_CHECKS)
    def test_my_sampler(check):
        check(MySampler)

A check takes what the entry point names, or anything else that makes the component as that does, and raises
`ConformanceError` where a rule is broken; its docstring is the rule.
"""

from recbole_dtlns.conformance.pools import POOL_CHECKS
from recbole_dtlns.conformance.rules import ConformanceError
from recbole_dtlns.conformance.samplers import SAMPLER_CHECKS

__all__ = ["POOL_CHECKS", "SAMPLER_CHECKS", "ConformanceError"]
