"""Names in PostgreSQL: it cuts every name after 63 bytes, and two long names may become one.

Names of Salesforce's own fields fit. A property or a column of a packaged field may be longer: such a name is cut after
54 bytes and gets a mark made of the whole, so it stays the same for ever and differs from all others. headrace itself
never shows the short form: what a person writes and reads is the whole name (see `spelled` and sessions.Long).
"""

import hashlib
import re
from functools import lru_cache

from integration.store import quoting

_LONGEST = 63
_KEPT = 54
_SHORTENED = re.compile(r"_[0-9a-f]{8}$")
_WORDS = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+""")


@lru_cache(maxsize=4096)
def short(name: str) -> str:
    """Return the name as PostgreSQL has it: itself where it has 63 bytes at most."""
    whole = name.encode()
    if len(whole) <= _LONGEST:
        return name
    mark = hashlib.sha256(whole).hexdigest()[:8]
    return f"{whole[:_KEPT].decode('utf-8', 'ignore')}_{mark}"


def may_be_short(name: str) -> bool:
    """Tell whether a name of PostgreSQL's looks like a shortened one."""
    # The cut may fall into a character of up to four bytes.
    return len(name.encode()) >= _LONGEST - 3 and _SHORTENED.search(name) is not None


def spelled(sql: str) -> str:
    """Return a person's SQL with every name that is too long as PostgreSQL has it.

    No meaning is lost: PostgreSQL would cut such a name, and find nothing by it.
    """
    return _WORDS.sub(_spelled, sql) if len(sql) > _LONGEST else sql


def _spelled(found: re.Match[str]) -> str:
    word = found[0]
    if len(word.encode()) <= _LONGEST or word.startswith("'"):
        return word
    if word.startswith('"'):
        return identifier(word[1:-1].replace('""', '"'))
    return short(word.lower())


def identifier(name: str) -> str:
    """Quote the name of a column or of a table without a schema."""
    return quoting.identifier(short(name))


def table_name(name: str) -> str:
    """Quote the name of a table or view, in lower case; a schema may stand before the first dot."""
    return ".".join(identifier(part) for part in split(name))


def split(name: str) -> tuple[str, str]:
    """Return schema and name of a table or view, in lower case; people's tables lie in `public`."""
    schema, dot, table = name.lower().partition(".")
    return (schema, table) if dot else ("public", schema)
