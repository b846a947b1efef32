"""The stage that hides train pairs and puts the question anew, where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.judges.contract import Question, Rehearsal
from recbole_dtlns.preparation.asking import Asking
from recbole_dtlns.preparation.stage import Stage, Workbench

_ENOUGH = 1000  # hidden pairs among the candidates


class Rehearsing(Stage):
    """Makes teacher, candidates and trees without some train pairs; what they consist of is kept by its own stages."""

    class Config(ComponentConfig):
        """Settings of what is hidden."""

        prefix = "judge_"

        hide: float = Field(0.1, gt=0, lt=1)
        """calibrated, audit: share of every user's train pairs hidden to learn from, or to be found."""
        hide_last: bool | Literal["auto"] = "auto"
        """calibrated, audit: hide each user's last pairs by time instead of any; needs times in the data. auto: where
        eval_args cuts by time (order: TO, by ratio or leave-one-out), as what is hidden should be like what is to be
        found; of files that are split in advance, any."""
        rehearsals: int = Field(1, ge=1, le=20)
        """calibrated: hide pairs anew, at most this many times, while fewer than 1,000 of those hidden are found among
        the candidates. Once where the last are hidden: there are no other last ones."""
        seed: Seed = 42

    config: Config
    name = "rehearsal"
    version = 1

    @property
    def hides_last(self) -> bool:
        """Whether the last pairs are hidden; who knows of no split hides any."""
        return self.config.hide_last is True

    @property
    def most(self) -> int:
        """How many rehearsals there are at most."""
        return 1 if self.hides_last else self.config.rehearsals

    def recipe(self) -> dict[str, Any]:
        """What determines which of the train pairs are hidden."""
        config = self.config
        further = {
            **({"rehearsals": self.most} if self.most > 1 else {}),
            **({"last": True} if self.hides_last else {}),
        }
        return {"hide": config.hide, "seed": config.seed, **further}

    def run(
        self, bench: Workbench, asking: Asking, question: Question, within: Rehearsing | None = None
    ) -> Rehearsal | None:
        """The question put anew, with the hidden pairs; None where it cannot be.

        Args:
            bench: with the actual train pairs.
            asking: the stages that put the question.
            question: the actual one, as they put it.
            within: makes a rehearsal within the rehearsal, for an audit of judges that learn from one.

        Raises:
            DataError: no train pair can be hidden.
        """
        if not asking.can_be_put_anew:
            return None
        rehearsals = [self._once(bench, asking, question, within, self.config.seed)]
        while len(rehearsals) < self.most and _found(rehearsals) < _ENOUGH:
            seed = self.config.seed + len(rehearsals)
            rehearsals.append(self._once(bench, asking, question, within, seed))
        return replace(rehearsals[0], more=tuple(rehearsals[1:]))

    def _once(
        self, bench: Workbench, asking: Asking, question: Question, within: Rehearsing | None, seed: int
    ) -> Rehearsal:
        reduced, hidden = hide_positives(bench.train, self.config.hide, seed, self.hides_last)
        other, anew = bench.with_train(reduced), asking.anew()
        known, actual = anew.run(other), question
        if within is not None:
            known = replace(known, rehearsal=within.run(other, anew, known))
        if asking.trees_that_know_train:
            actual = replace(question, views=anew.run(bench.with_train(bench.train)).views)
        return Rehearsal(known, hidden, actual, asking.trees_that_know_train)


def _found(rehearsals: list[Rehearsal]) -> int:
    """How many hidden pairs are among the candidates."""
    return sum(int(rehearsal.answers().sum()) for rehearsal in rehearsals)
