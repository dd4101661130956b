"""Rows of one object: tuples in a dict by Id, and two indexes that keep them in reading order."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from integration.sandbox.model import ObjectDef

Row = tuple[Any, ...]
_BUCKET = 1024


class SortedKeys:
    """Strings in ASCII order, in buckets, so that adding one among 400,000 stays cheap."""

    __slots__ = ("_buckets", "_highest")

    def __init__(self) -> None:
        self._buckets: list[list[str]] = []
        self._highest: list[str] = []

    def add(self, key: str) -> None:
        """Put a key in its place. The caller sees to it that it is new."""
        if not self._buckets:
            self._buckets.append([key])
            self._highest.append(key)
            return
        at = bisect_left(self._highest, key)
        if at == len(self._highest):
            at -= 1
            self._buckets[at].append(key)
            self._highest[at] = key
        else:
            insort(self._buckets[at], key)
        if len(self._buckets[at]) > 2 * _BUCKET:
            self._split(at)

    def remove(self, key: str) -> None:
        """Take a key out. Raises KeyError if it is not there."""
        at = bisect_left(self._highest, key)
        bucket = self._buckets[at] if at < len(self._buckets) else []
        place = bisect_left(bucket, key)
        if place == len(bucket) or bucket[place] != key:
            raise KeyError(key)
        del bucket[place]
        if not bucket:
            del self._buckets[at], self._highest[at]
        else:
            self._highest[at] = bucket[-1]

    def between(self, low: str, high: str) -> Iterator[str]:
        """Yield the keys from `low` to `high`, both included, in order."""
        at = bisect_left(self._highest, low)
        start = bisect_left(self._buckets[at], low) if at < len(self._buckets) else 0
        for bucket in self._buckets[at:]:
            for key in bucket[start:] if start else bucket:
                if key > high:
                    return
                yield key
            start = 0

    def between_backwards(self, low: str, high: str) -> Iterator[str]:
        """Yield the keys from `high` down to `low`, both included."""
        at = min(bisect_left(self._highest, high), len(self._buckets) - 1)
        for bucket in reversed(self._buckets[: at + 1]):
            for key in reversed(bucket):
                if key < low:
                    return
                if key <= high:
                    yield key

    def _split(self, at: int) -> None:
        bucket = self._buckets[at]
        self._buckets[at : at + 1] = [bucket[:_BUCKET], bucket[_BUCKET:]]
        self._highest[at : at + 1] = [bucket[_BUCKET - 1], bucket[-1]]


class RowView(Mapping[str, Any]):
    """A row read by field name, for formulas. A field that is no longer there reads as null."""

    __slots__ = ("_at", "_row")

    def __init__(self, at: Mapping[str, int], row: Row) -> None:
        self._at = at
        self._row = row

    def __getitem__(self, name: str) -> Any:
        place = self._at.get(name)
        return None if place is None else self._row[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)


class Table:
    """The rows of one object, deleted ones included. Id is always the first column.

    `by_stamp` holds stamp + Id (SystemModstamp, or CreatedDate for objects without it), `by_id` the Ids.
    Not thread-safe: the org's lock guards it.
    """

    def __init__(self, definition: ObjectDef) -> None:
        self.rows: dict[str, Row] = {}
        self.by_stamp = SortedKeys()
        self.by_id = SortedKeys()
        self.deleted_log: dict[str, str] = {}
        self.version = 0  # moves with every write: what was summed up before is out of date then
        self.redefine(definition)

    def redefine(self, definition: ObjectDef) -> None:
        """Take a new list of fields: values of fields that stay are kept, new ones get their default."""
        old = getattr(self, "columns", ())
        self.definition = definition
        stored = [f for f in definition.fields if f.stored]
        self.columns: tuple[str, ...] = tuple(f.name for f in stored)
        self.at: dict[str, int] = {name: place for place, name in enumerate(self.columns)}
        self.blank: dict[str, Any] = {f.name: f.default for f in stored}
        self.fields = {f.name: f for f in definition.fields}
        self.stamp_field = "SystemModstamp" if "SystemModstamp" in self.at else "CreatedDate"
        self.stamp_at = self.at[self.stamp_field]
        self.deleted_at = self.at.get("IsDeleted")
        self.archived_at = self.at.get("IsArchived")
        self.version += 1
        if self.rows and old != self.columns:
            self.rows = {
                key: tuple((self.blank | dict(zip(old, row, strict=True)))[name] for name in self.columns)
                for key, row in self.rows.items()
            }

    def rewrite(self, field: str, convert: Callable[[Any], Any]) -> None:
        """Give every row another value of a field, computed from the one it has."""
        place = self.at[field]
        self.version += 1
        self.rows = {key: (*row[:place], convert(row[place]), *row[place + 1 :]) for key, row in self.rows.items()}

    def put(self, row: Row) -> Row | None:
        """Store a row, and return the one it replaces."""
        self.version += 1
        key: str = row[0]
        old = self.rows.get(key)
        self.rows[key] = row
        if old is None:
            self.by_id.add(key)
        elif old[self.stamp_at] == row[self.stamp_at]:
            return old
        else:
            self.by_stamp.remove(old[self.stamp_at] + key)
        self.by_stamp.add(row[self.stamp_at] + key)
        return old

    def drop(self, key: str) -> Row:
        """Forget a row for good and return it. Raises KeyError if it is not there."""
        self.version += 1
        row = self.rows.pop(key)
        self.by_id.remove(key)
        self.by_stamp.remove(row[self.stamp_at] + key)
        return row

    def record(self, row: Row) -> dict[str, Any]:
        """Return a row as a dict of its stored fields."""
        return dict(zip(self.columns, row, strict=True))

    def is_deleted(self, row: Row) -> bool:
        """Tell whether a row is in the recycle bin."""
        return self.deleted_at is not None and bool(row[self.deleted_at])

    def live_with(self, field: str, values: frozenset[str]) -> list[Row]:
        """List the rows outside the recycle bin whose reference `field` is one of `values`."""
        place, bin_at = self.at[field], self.deleted_at
        return [row for row in self.rows.values() if row[place] in values and not (bin_at and row[bin_at])]
