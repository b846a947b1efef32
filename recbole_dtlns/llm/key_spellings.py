"""An API key is found in what a server sends, however it is spelled there, and masked."""

from __future__ import annotations

import base64
import html
import re

_MASK = "***"
_ESCAPES = 16  # backslashes before a character: a text quoted four times over
_LEAST = 8  # letters and digits of what is looked for between other characters: "none" is in many sentences
# One letter or digit, as it is or as JSON, Python, addresses and HTML write it; and line breaks, which are neither.
_CHARACTER = re.compile(
    r"\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2})|[nrtbfv])|%(?:25)*([0-9a-f]{2})|&(?:amp;)*(#x?[0-9a-f]+|[a-z]+);|([0-9a-z])",
    re.IGNORECASE | re.ASCII,
)
_PLAIN = re.compile(r"()()()()([0-9a-z])", re.IGNORECASE | re.ASCII)


def masked(text: str, key: str) -> str:
    """The text without the key.

    It is found as it is, quoted by JSON, HTML, addresses or Python (one inside the other), with anything but letters
    and digits between its characters, in small or capital letters, in hexadecimal digits, and in base64, alone or as
    part of something longer such as `Bearer KEY`. A key of few letters and digits is found as it is and quoted only.

    Args:
        text: what was sent.
        key: what must not be shown; not empty.
    """
    text = re.sub(_quoted(key), _MASK, text)
    spellings = _spellings(key)
    for pattern in (_PLAIN, _CHARACTER):
        text = _without(text, pattern, spellings)
    return text


def _quoted(key: str) -> str:
    """Pattern of a key as it is, or as JSON, HTML, addresses and Python write it, and one inside the other."""
    # No spelling twice: a text that holds most of the key would be tried in as many ways as there are pairs.
    spelled = (
        rf"(?:{'|'.join(map(re.escape, dict.fromkeys((each, html.escape(each)))))}|&#0*{ord(each)};"
        rf"|(?i:%{ord(each):02x}|u{ord(each):04x}|x{ord(each):02x}|&#x0*{ord(each):x};))"
        for each in key
    )
    return "".join(rf"\\{{0,{_ESCAPES}}}{each}" for each in spelled)


def _spellings(key: str) -> set[str]:
    """Letters and digits of the key, and of what all texts that hold it have in common in other alphabets."""
    sent = key.encode()
    spelled = [key, sent.hex()]
    for before in range(3):  # three bytes are four characters: where the key begins among three decides how it looks
        whole = base64.b64encode(bytes(before) + sent).decode()
        spelled.append(whole[(8 * before + 5) // 6 : 8 * (before + len(sent)) // 6])
    found = {_letters(each, pattern)[0] for each in spelled for pattern in (_PLAIN, _CHARACTER)}
    return {each for each in found if len(each) >= _LEAST}


def _letters(text: str, pattern: re.Pattern[str]) -> tuple[str, list[tuple[int, int]]]:
    """The letters and digits that a pattern finds, in small letters, and where each stands in the text."""
    letters, places = [], []
    for found in pattern.finditer(text):
        unicode, byte, percent, entity, plain = found.groups()
        code = unicode or byte or percent
        letter = chr(int(code, 16)) if code else html.unescape(f"&{entity};") if entity else plain or ""
        if len(letter) == 1 and letter.isascii() and letter.isalnum():
            letters.append(letter.lower())
            places.append(found.span())
    return "".join(letters), places


def _without(text: str, pattern: re.Pattern[str], spellings: set[str]) -> str:
    letters, places = _letters(text, pattern)
    kept, end = [], 0
    for found in re.finditer("|".join(map(re.escape, sorted(spellings))), letters) if spellings else ():
        kept += [text[end : places[found.start()][0]], _MASK]
        end = places[found.end() - 1][1]
    return "".join([*kept, text[end:]])
