"""RecBole 1.2.1 on today's NumPy, SciPy and torch, without touching its files.

`apply` runs when `recbole_dtlns` is imported. Each repair is made only where the feature is missing, so a
RecBole release that no longer needs it is left alone.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.errors import InstallationError

RECBOLE_VERSION = "1.2.1"
INSTALL_RECBOLE = f"pip install --no-deps recbole=={RECBOLE_VERSION}"
_RECBOLE_WARNINGS: tuple[tuple[type[Warning], str], ...] = (
    (FutureWarning, r".*torch\.cuda\.amp.*"),
    (UserWarning, r".*torch\.sparse\.(Float|Sparse)Tensor.*"),
    (UserWarning, r".*[Ss]parse (csr|CSR) tensor support is in beta.*"),
    (UserWarning, r".*non-writable.*"),
    (DeprecationWarning, r"__array_wrap__ must accept context.*"),  # np.argsort of a tensor
    (DeprecationWarning, r"__array__ implementation doesn.t accept a copy keyword.*"),  # LINE
    (UserWarning, r"Creating a tensor from a list of numpy.ndarrays is extremely slow.*"),  # DMF
    (DeprecationWarning, r"The inplace keyword in .* is deprecated.*"),  # pandas 3
    (Warning, r"A value is being set on a copy of a DataFrame or Series through chained assignment.*"),  # and mended
)
_OLD_PINS = {"ray": (2, 6, 3), "colorlog": (4, 7, 2), "colorama": (0, 4, 4)}  # what RecBole's own metadata asks for


def apply() -> None:
    """Supply what RecBole 1.2.1 expects of NumPy 1 and SciPy < 1.13."""
    # recbole.config.Config.compatibility_settings reads these three; NumPy 2 removed them.
    _alias("float_", np.float64)
    _alias("complex_", np.complex128)
    _alias("unicode_", np.str_)
    # RecBole's modules also read np.float and np.int at run time, which only its Config would set.
    _alias("float", np.float64)
    _alias("int", np.int64)
    _alias("object", np.object_)
    _alias("str", np.str_)
    # Its graph models fill adjacency matrices through a private method that SciPy 1.13 dropped.
    if not hasattr(sp.dok_matrix, "_update"):
        sp.dok_matrix._update = lambda self, entries: self._dict.update(entries)


def _alias(name: str, replacement: type) -> None:
    if name not in np.__dict__:
        setattr(np, name, replacement)


def require_recbole() -> None:
    """Check that RecBole can be used.

    Raises:
        InstallationError: it is missing or has another version; the message holds the command to run.
    """
    try:
        version = importlib.metadata.version("recbole")
    except importlib.metadata.PackageNotFoundError:
        raise InstallationError(
            f"RecBole is not installed. Run: {INSTALL_RECBOLE}\n"
            "(--no-deps matters: RecBole's own pins ask for a Ray that does not run on NumPy 2; "
            "recbole_dtlns brings everything else that RecBole needs)"
        ) from None
    if version != RECBOLE_VERSION:
        raise InstallationError(
            f"RecBole {version} is installed, recbole_dtlns is built on {RECBOLE_VERSION}. Run: {INSTALL_RECBOLE}"
        )


def old_pins() -> dict[str, str]:
    """Packages installed at the versions that RecBole's metadata pins, by name; empty on today's stack.

    They are the trace of `pip install recbole` without --no-deps. Training works beside them; Ray 2.6.3 does not
    import under NumPy 2.
    """
    found = {}
    for name, pin in _OLD_PINS.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
        if numbers <= pin:
            found[name] = version
    return found


def repair_old_pins() -> str:
    """The command that replaces the packages named by `old_pins`."""
    return f"pip install --upgrade {' '.join(old_pins())} && {INSTALL_RECBOLE}"


@contextmanager
def quiet_recbole() -> Iterator[None]:
    """Silence the deprecation warnings that RecBole 1.2.1's own code raises on current libraries.

    Usable as a decorator too. Only these messages are silenced; every other warning still reaches the user.
    """
    with warnings.catch_warnings():
        for category, message in _RECBOLE_WARNINGS:
            warnings.filterwarnings("ignore", category=category, message=message)
        yield
