"""Record ids: 15 case-sensitive characters, then 3 that let case-blind systems tell them apart."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in ASCII order, so Ids sort by number
_VALUES = {char: value for value, char in enumerate(_DIGITS)}
_CHECKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_POD = "5g"


def record_id(prefix: str, n: int) -> str:
    """Return the n-th 18-character id of a 3-character key prefix. Ids sort by `n` in ASCII order."""
    if len(prefix) != 3:
        raise ValueError(f"A key prefix has three characters, not {prefix!r}.")
    digits = []
    for _ in range(10):
        n, rest = divmod(n, 62)
        digits.append(_DIGITS[rest])
    return to18(prefix + _POD + "".join(reversed(digits)))


def number_of(id18: str) -> int | None:
    """Return the `n` that `record_id` was given, or None if the id is not one of ours."""
    if id18[3:5] != _POD:
        return None
    n = 0
    for char in id18[5:15]:
        n = n * 62 + _VALUES[char]
    return n


def to18(id15: str) -> str:
    """Append the three check characters to a 15-character id; an 18-character one comes back as it is.

    Raises ValueError if the text is not an id.
    """
    if not is_id(id15):
        raise ValueError(f"{id15!r} is not a record id: 15 or 18 letters and digits are needed.")
    if len(id15) == 18:
        return id15
    blocks = (id15[0:5], id15[5:10], id15[10:15])
    return id15 + "".join(_CHECKS[_capitals(block)] for block in blocks)


def _capitals(block: str) -> int:
    return sum(1 << k for k, char in enumerate(block) if "A" <= char <= "Z")


def is_id(text: object) -> bool:
    """Tell whether a value looks like a record id: a string of 15 or 18 ASCII letters and digits."""
    return isinstance(text, str) and len(text) in (15, 18) and text.isascii() and text.isalnum()
