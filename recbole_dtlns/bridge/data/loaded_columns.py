"""Which columns of a file are there, and which of them RecBole loads."""

from __future__ import annotations

from typing import Any


def there(header: dict[str, str]) -> str:
    """The columns of a file, for messages."""
    return f"it has {', '.join(f'{field}:{kind}' for field, kind in header.items())}"


def is_loaded(config: Any, suffix: str, field: str) -> bool:
    """Whether RecBole gives the field of a file to the model."""
    wanted = config["load_col"]
    if wanted and wanted.get(suffix) != "*" and field not in (wanted.get(suffix) or ()):
        return False
    return not any(config[key] and field in (config[key].get(suffix) or ()) for key in ("unload_col", "unused_col"))
