"""No method: nothing is told, and RecBole draws its negatives."""

from __future__ import annotations

from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods.contract import Method, Task


class Off(Method):
    """`off`: the empty method."""

    version = 1
    guides = False
    own_sampler = "recbole"

    def guide(self, task: Task) -> Guidance:
        """Nothing."""
        return Guidance(train=task.train)
