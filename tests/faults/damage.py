"""What crashes, disks and editors do to files, at places drawn from a seed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

BLOCK = 4096


def zeroed(content: bytes, random: Random) -> bytes:
    """A block of a disk comes back empty."""
    start = random.randrange(0, len(content), BLOCK)
    end = min(start + BLOCK, len(content))
    return content[:start] + bytes(end - start) + content[end:]


def truncated(content: bytes, random: Random) -> bytes:
    """The end was never written."""
    return content[: random.randrange(1, len(content))]


def emptied(content: bytes, random: Random) -> bytes:
    """Nothing was written but the name."""
    return b""


def flipped(content: bytes, random: Random) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    changed[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(changed)


def digit(content: bytes, random: Random) -> bytes:
    """One digit is another, so that a text stays well-formed."""
    places = [match.start() for match in re.finditer(rb"[0-9]", content)]
    if not places:
        return flipped(content, random)
    changed = bytearray(content)
    place = random.choice(places)
    changed[place] = random.choice([code for code in b"0123456789" if code != changed[place]])
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "4 KiB zeroed": zeroed,
    "truncated": truncated,
    "emptied": emptied,
    "a bit flipped": flipped,
    "a digit changed": digit,
}


def damage_one(files: list[Path], random: Random) -> tuple[Path, str]:
    """Damage one of the files; returns it, and what was done to it."""
    path = random.choice([file for file in sorted(files) if file.stat().st_size > 1])
    content = changed = path.read_bytes()
    what = random.choice(list(DAMAGES))
    while changed == content:  # zeros that were zeros before are no damage
        changed = DAMAGES[what](content, random)
        what = what if changed != content else "a bit flipped"
    path.write_bytes(changed)
    return path, what


def files_in(*folders: Path) -> list[Path]:
    """All files, but locks, which hold nothing."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if path.suffix != ".lock"]
