"""The marts of a store, kept up to date by those keys whose rows have changed since; and the view on usage."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from integration.core.flatten import Outcome
from integration.errors import ConfigError
from integration.store import marts, tables
from integration.store.attribution import Attribution
from integration.store.marts import MARTS, PERSON, Mart
from integration.store.projection import Shape
from integration.store.protocol import Reading, Transaction
from integration.store.pseudonyms import Pseudonyms
from integration.store.usage import VIEW, Usage, usage_view

KEYS_AT_ONCE: Final = 10_000
"""Keys of one transaction: batches wait for as long as these take."""
KEYS_BEHIND_A_SYNC: Final = 50_000
"""The same where no batch waits: each part looks through whole tables again, so few large ones cost less."""
_USAGE: Final = Usage()
_RULES: Final = Attribution()
_NO_PSEUDONYMS: Final = Pseudonyms()
_DEFINED: Final = "SELECT key, value FROM headrace.meta WHERE key = any(?)"
_NEXT: Final = (
    # Those last that others reach: what is due later is left to its own part.
    "SELECT key FROM headrace.stale GROUP BY key ORDER BY max(CASE kind WHEN 'Opportunity' THEN 3 WHEN 'Lead' THEN 2 "
    "WHEN 'person' THEN 1 ELSE 0 END), key LIMIT {limit:d}"
)
_KINDS: Final = "SELECT DISTINCT kind, key FROM headrace.stale WHERE key = any(?)"
_STALE_TOO: Final = "SELECT DISTINCT key FROM headrace.stale WHERE kind = any(?) AND key = any(?)"
_PEOPLE: Final = (
    "SELECT DISTINCT user_id AS key FROM events WHERE origin = 'product' AND user_id > ? ORDER BY 1 LIMIT {limit:d}"
)


def note_stale(tx: Transaction, stale: Mapping[str, Iterable[str]], now: str) -> None:
    """Note by kind the keys whose rows may have changed; nothing of kinds that no mart looks at."""
    told = ((kind, key) for kind in sorted(marts.KINDS & stale.keys()) for key in sorted({*stale[kind]}))
    rows = [{"kind": kind, "key": key, "since": now} for kind, key in told]
    if rows:
        tx.append("headrace.stale", tables.STALE, rows)


def note_batch(
    tx: Transaction,
    outcomes: Iterable[Outcome],
    events: Iterable[Mapping[str, Any]],
    handed_over: Iterable[str],
    now: str,
) -> None:
    """Note whose records, and whose events, are others by a batch.

    `events` are those of the product and of field history; `handed_over` are users who got or lost events.
    """
    stale: dict[str, set[str]] = {PERSON: {*handed_over}}
    for one in outcomes:
        if _concerns(one):
            stale.setdefault(one.after.object, set()).add(one.after.record_id)
    for event in events:
        if event["origin"] == "product":
            stale[PERSON].add(event["user_id"])
        else:
            stale.setdefault(event["object"], set()).add(event["record_id"])
    note_stale(tx, stale, now)


def _concerns(one: Outcome) -> bool:
    """Tell whether any mart may look at what has changed; most edits (a phone, a title) are none of theirs."""
    if one.before is None or one.before.is_deleted != one.after.is_deleted:
        return True
    looked_at = marts.FIELDS.get(one.after.object, frozenset())
    return any(change["field"].lower() in looked_at for change in one.changes)


class Marts:
    """Refreshes the marts of one store, in transactions of its present owner, a part at a time."""

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Transaction]],
        shape: Callable[[], Shape],
        now: Callable[[], str],
        usage: Usage = _USAGE,
        rules: Attribution = _RULES,
        pseudonyms: Pseudonyms = _NO_PSEUDONYMS,
    ) -> None:
        self._begin = transaction
        self._shape = shape
        self._now = now
        self._usage = usage
        self._rules = rules
        self._pseudonyms = pseudonyms
        self._defined: Shape | None = None
        """The shape of which it is known that the marts are worked out from it, in the way of now."""

    def refresh(self, *, limit: int = KEYS_AT_ONCE) -> int:
        """Bring the next stale keys up to date; return how many they were, 0 when nothing is stale.

        Raises what the store raises; then nothing of this part is stored, and the next call tries it again.
        """
        self._define()
        with self._begin() as tx:
            keys = [row["key"] for row in tx.rows(_NEXT.format(limit=limit))]
            if not keys:
                return 0
            by_kind: dict[str, list[str]] = {}
            for row in tx.rows(_KINDS, [keys]):
                by_kind.setdefault(row["kind"], []).append(row["key"])
            for mart in MARTS:
                self._refresh(tx, mart, by_kind)
            tx.delete("headrace.stale", "key", keys)
        return len(keys)

    def _refresh(self, tx: Transaction, mart: Mart, stale: Mapping[str, Sequence[str]]) -> None:
        keys = self._reached(tx, mart, stale)
        if not keys:
            return
        sql, times = mart.some(self._shape(), self._rules)
        parameters = [sorted(keys)] * times
        if mart.has_pseudonyms:
            rows = self._pseudonyms.rows(tx.rows(sql, parameters))
            tx.make_equal(mart.name, mart.key, keys, mart.columns, rows)
        else:
            tx.work_out(mart.name, mart.key, keys, mart.columns, sql, parameters)

    def _reached(self, tx: Transaction, mart: Mart, stale: Mapping[str, Sequence[str]]) -> set[str]:
        """Return the keys of a mart that these stale keys are, or reach.

        But not those reached that are stale themselves, and come with a later part: behind a first sync almost all are.
        """
        own = {key for kind in mart.own_kinds & stale.keys() for key in stale[kind]}
        reached: set[str] = set()
        for kind in (mart.stale.keys() - mart.own_kinds) & stale.keys():
            reached |= _keys(tx, mart.reached(kind, self._shape(), self._rules), stale[kind])
        reached -= own
        if reached and mart.own_kinds:
            reached -= {row["key"] for row in tx.rows(_STALE_TOO, [sorted(mart.own_kinds), sorted(reached)])}
        return own | reached

    def _define(self) -> None:
        """Note everything as stale that a mart needs which is worked out in another way than it was."""
        shape = self._shape()
        if shape is self._defined:
            return
        wanted = {f"mart {mart.name}": self._fingerprint(mart, shape) for mart in MARTS}
        with self._begin() as tx:
            self._show_usage(tx, shape)
            for name, view in tables.OF_THE_RULES.items():
                tx.ensure_view(name, view(shape, self._rules), own=True)
            there = {row["key"]: row["value"] for row in tx.rows(_DEFINED, [sorted(wanted)])}
        new = [mart for mart, (key, value) in zip(MARTS, wanted.items(), strict=True) if there.get(key) != value]
        for kind in sorted({kind for mart in new for kind in mart.whole}):
            self._note_all(kind)
        if new:
            with self._begin() as tx:
                rows = [{"key": key, "value": value} for key, value in wanted.items()]
                tx.upsert("headrace.meta", ("key",), tables.META, rows)
        self._defined = shape

    def _fingerprint(self, mart: Mart, shape: Shape) -> str:
        found = mart.fingerprint(shape, self._rules)
        return f"{found} {self._pseudonyms.fingerprint}" if mart.has_pseudonyms else found

    def _show_usage(self, tx: Transaction, shape: Shape) -> None:
        sql = usage_view(self._usage, _columns_of_users(shape))
        try:
            tx.ensure_view(self._usage.view, sql, own=self._usage.view == VIEW)
        except ValueError:
            raise ConfigError(
                f"usage.view can't be {self._usage.view}: a table has that name, so choose another."
            ) from None

    def _note_all(self, kind: str) -> None:
        """Note all keys of a kind, a page at a time: who is broken off begins again, for the marts' marks come last."""
        after = ""
        while True:
            with self._begin() as tx:
                keys = all_keys(tx, kind, after, KEYS_AT_ONCE)
                if not keys:
                    return
                note_stale(tx, {kind: keys}, self._now())
                after = keys[-1]


def _columns_of_users(shape: Shape) -> set[str]:
    parts = shape.parts.values()
    pairs = [*(part.properties for part in parts), *(one.properties for part in parts for one in part.lookups)]
    return {*tables.FIXED_OF_USERS, *(name for pair in pairs for _, name in pair), *shape.traits}


def all_keys(tx: Reading, kind: str, after: str, limit: int) -> list[str]:
    """List the next keys of a kind behind one."""
    if kind != PERSON:
        return [record_id for record_id, _ in tx.known_ids(kind, after=after, limit=limit)]
    return [row["key"] for row in tx.rows(_PEOPLE.format(limit=limit), [after])]


def _keys(tx: Transaction, sql: str, keys: Collection[str]) -> set[str]:
    rows: list[dict[str, Any]] = tx.rows(sql, [sorted(keys)] * sql.count("= any(?)"))
    return {row["key"] for row in rows if row["key"] is not None}
