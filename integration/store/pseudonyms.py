"""Names under which accounts may be spoken of in public: made of their ids by a key, and of nothing else."""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_LETTERS: Final = 12
_BANDS: Final = ((10, "1-10"), (50, "11-50"), (200, "51-200"), (1000, "201-1000"), (10_000, "1001-10000"))


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The key that names are made with, and what stands beside them: the settings of the section `privacy`."""

    key: str = field(default="", repr=False)
    """Without one no account has a pseudonym."""
    shown: Sequence[str] = ()
    """`industry`, `size`, or both."""

    def of(self, record_id: str) -> str:
        """Return the pseudonym of an account: always the same with the same key."""
        digest = hmac.new(self.key.encode(), f"account {record_id}".encode(), hashlib.sha256).digest()
        return f"account-{b32encode(digest).decode().lower()[:_LETTERS]}"

    def rows(self, accounts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Turn accounts (`account_id`, `industry`, `employees`) into rows of headrace.pseudonyms."""
        if not self.key:
            return []
        return [
            {
                "account_id": one["account_id"],
                "pseudonym": self.of(one["account_id"]),
                "industry": one["industry"] if "industry" in self.shown else None,
                "size": _band(one["employees"]) if "size" in self.shown else None,
            }
            for one in accounts
        ]

    @property
    def fingerprint(self) -> str:
        """What is another with another key, or when something else is to be shown; it does not tell the key."""
        return f"{self.of('') if self.key else ''} {sorted(self.shown)}"


def _band(employees: int | None) -> str | None:
    if not employees or employees < 0:
        return None
    return next((name for most, name in _BANDS if employees <= most), "over 10000")
