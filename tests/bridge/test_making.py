"""What a model's constructor refuses is an error of the settings, in its own words where it has some."""

from __future__ import annotations

from typing import Any

import pytest

from recbole_dtlns.bridge.models.kinds import kind_of
from recbole_dtlns.bridge.models.making import make_model
from recbole_dtlns.errors import ConfigError


class Settings(dict[str, Any]):
    """The part of a configuration that making a model reads."""

    kind = kind_of(object)

    def model_class(self, *_: Any) -> None:
        raise self["error"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("it is no multiple"), "it is no multiple"),
        (NotImplementedError("Make sure of it!"), "Make sure of it!"),
        (NotImplementedError(), "one has a value that it does not know, and it does not say which"),
        (KeyError("gelou"), "it knows no value 'gelou'"),
    ],
)
def test_what_a_constructor_refuses(error: Exception, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^KGAT cannot be made with these settings: {said}$"):
        make_model(Settings(model="KGAT", error=error), None)
