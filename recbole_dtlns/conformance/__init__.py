"""What components must hold to, as checks for the tests of your own; servers, engines and data that such tests need.

    import pytest
    from recbole_dtlns.conformance import SAMPLER_CHECKS

    @pytest.mark.parametrize("check", SAMPLER_CHECKS)
    def test_my_sampler(check):
        check(MySampler)

A check takes the class that the entry point names, or anything else that makes an instance when it is called without
arguments, and raises `ConformanceError` where a rule is broken; its docstring is the rule. Checks of teachers, judges
and encoders also call it with one setting by name, to see that results are told apart by it. `SERVER_ENGINE_CHECKS`
call it with an `Address`, and start the server that is there themselves.
"""

from recbole_dtlns.conformance.blocks import block_interactions, block_of, block_pairs
from recbole_dtlns.conformance.encoders import ENCODER_CHECKS, TEXTWISE_ENCODER_CHECKS
from recbole_dtlns.conformance.engines import ENGINE_CHECKS, SERVER_ENGINE_CHECKS, Address
from recbole_dtlns.conformance.faulty_server import FAULTS, FaultyServer
from recbole_dtlns.conformance.judges import JUDGE_CHECKS, PAIRWISE_JUDGE_CHECKS
from recbole_dtlns.conformance.losses import LIST_LOSS_CHECKS, ROW_LOSS_CHECKS
from recbole_dtlns.conformance.methods import METHOD_CHECKS
from recbole_dtlns.conformance.pools import POOL_CHECKS
from recbole_dtlns.conformance.questions import block_question, false_negatives
from recbole_dtlns.conformance.raw_server import RawServer
from recbole_dtlns.conformance.rule_engine import RuleEngine
from recbole_dtlns.conformance.rules import ConformanceError
from recbole_dtlns.conformance.samplers import SAMPLER_CHECKS
from recbole_dtlns.conformance.teachers import TEACHER_CHECKS

__all__ = [
    "ENCODER_CHECKS",
    "ENGINE_CHECKS",
    "FAULTS",
    "JUDGE_CHECKS",
    "LIST_LOSS_CHECKS",
    "METHOD_CHECKS",
    "PAIRWISE_JUDGE_CHECKS",
    "POOL_CHECKS",
    "ROW_LOSS_CHECKS",
    "SAMPLER_CHECKS",
    "SERVER_ENGINE_CHECKS",
    "TEACHER_CHECKS",
    "TEXTWISE_ENCODER_CHECKS",
    "Address",
    "ConformanceError",
    "FaultyServer",
    "RawServer",
    "RuleEngine",
    "block_interactions",
    "block_of",
    "block_pairs",
    "block_question",
    "false_negatives",
]
