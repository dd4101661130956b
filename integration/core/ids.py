"""Salesforce's record ids: 15 case-sensitive characters, or 18 with three that check the capitals."""

_CHECK_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def long_id(value: str) -> str:
    """Lengthen a 15-character id to 18: each added character says which of five are capitals. Others stay as is."""
    if len(value) != 15:
        return value
    fives = (value[i : i + 5] for i in (0, 5, 10))
    return value + "".join(
        _CHECK_CHARACTERS[sum((c.isascii() and c.isupper()) << bit for bit, c in enumerate(five))] for five in fives
    )
