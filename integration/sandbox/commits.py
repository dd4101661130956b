"""The org's own diary: what became visible, in which order. Tests compare what was seen with it."""

from typing import Any, Literal

from integration.sandbox.table import Row

Kind = Literal["created", "updated", "deleted", "undeleted", "purged", "touched", "merged", "converted", "archived"]


class Commit:
    """One record that became visible in a new form.

    seq         1, 2, 3 ... in the order of becoming visible
    at          the stamp the record was given when it was saved
    visible_at  the stamp of the commit; later than `at` when the transaction stayed open
    together    commits with the same number became visible at once: a transaction, a merge, a delete with its family
    before      stored fields before, None for a new record (formulas and compounds are not stored)
    after       stored fields after, None for a record that is gone for good

    The `after` of a record's last commit is what every reader sees, save for what moves without being committed:
    calculated fields, `Org.drift` and changes of the schema.
    """

    __slots__ = ("_after", "_before", "_columns", "at", "kind", "object", "record_id", "seq", "together", "visible_at")

    def __init__(
        self,
        seq: int,
        at: str,
        visible_at: str,
        object: str,  # noqa: A002 - the word of this domain
        record_id: str,
        kind: Kind,
        images: tuple[tuple[str, ...], Row | None, Row | None],
        together: int = 0,
    ) -> None:
        self.seq = seq
        self.at = at
        self.visible_at = visible_at
        self.object = object
        self.record_id = record_id
        self.kind = kind
        self.together = together
        # Rows are never changed in place, so keeping them costs nothing; dicts are made when asked for.
        self._columns, self._before, self._after = images

    @property
    def before(self) -> dict[str, Any] | None:
        """Stored fields before, or None."""
        return None if self._before is None else dict(zip(self._columns, self._before, strict=True))

    @property
    def after(self) -> dict[str, Any] | None:
        """Stored fields after, or None."""
        return None if self._after is None else dict(zip(self._columns, self._after, strict=True))

    def __repr__(self) -> str:
        return f"Commit({self.seq}, {self.kind} {self.object} {self.record_id} at {self.at})"
