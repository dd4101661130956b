"""What somebody may have meant who named a table that is not there."""

from collections.abc import Sequence
from difflib import get_close_matches

_MOST = 3


def did_you_mean(name: str, tables: Sequence[str]) -> str:
    """Return a question, with a space before it, or an empty text when no table has a name like this one.

    With or without the schema: `contact` means `salesforce.contact`, `salesforce.user` means `users`.
    """
    wanted = name.lower().rpartition(".")[2]
    bare = {table: table.rpartition(".")[2].lower() for table in tables}
    close = [wanted] if wanted in bare.values() else get_close_matches(wanted, bare.values(), n=_MOST)
    meant = dict.fromkeys(table for one in close for table in tables if bare[table] == one)
    return f" Did you mean {' or '.join([*meant][:_MOST])}?" if meant else ""
