"""What the data set says of its users, for prompts that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Names
from recbole_dtlns.data.item_content import one_line


class UserFields(ComponentConfig):
    """Which fields of the .user file say something of a user."""

    prefix = ""

    user_text_fields: Names = Field(default_factory=list)
    """Fields of the .user file that profiles of users show, such as [age, occupation]; whether load_col names them does
    not matter. None: users are known by what they chose alone."""

    def texts(self, rows: Mapping[str, Mapping[str, str]], tokens: Iterable[str]) -> tuple[str, ...]:
        """One line for each user, such as "age: 24; occupation: writer"; empty where the file says nothing.

        Args:
            rows: by user token, the values of the fields as the file has them; a user may be missing.
            tokens: of the users, in canonical order.
        """
        return tuple(self._text(rows.get(token, {})) for token in tokens)

    def _text(self, row: Mapping[str, str]) -> str:
        values = {field: one_line(row.get(field, "")) for field in self.user_text_fields}
        return "; ".join(f"{field}: {value}" for field, value in values.items() if value)
