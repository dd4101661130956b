"""The people a batch reaches: stitched, projected, and written where their row differs."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

from consumers.catalogs import Catalogs
from integration.core import exactjson, identity, project
from integration.core.columns import Column
from integration.core.identity import Person
from integration.core.image import Image
from integration.core.project import Records
from integration.store import tables
from integration.store.protocol import Transaction


class IdentityRules(Protocol):
    """The two settings identity looks at."""

    @property
    def match_email(self) -> bool:
        """Whether one e-mail makes one person."""

    @property
    def max_cluster(self) -> int:
        """How many live records may share an e-mail before it counts as a shared mailbox."""


@dataclass(slots=True)
class Projected:
    """How many rows were written, and whose alias belongs to whom now."""

    users: int = 0
    user_of: dict[str, str] = field(default_factory=dict)


def write_people(
    tx: Transaction, reached: Mapping[str, Image], records: Records, catalogs: Catalogs, rules: IdentityRules
) -> Projected:
    """Write the rows of `users` and `identities` that differ from what the store has."""
    done = Projected()
    stitched = {i: identity.record_of(one) for i, one in reached.items()}
    people = identity.stitch(stitched, match_email=rules.match_email, max_cluster=rules.max_cluster)
    shared = identity.shared_mailboxes(stitched.values(), rules.max_cluster)
    done.user_of = _write_identities(tx, people, shared, stitched)
    remembered: dict[str, dict[str, Any]] = {}
    rows = {p.user_id: project.user_row(p, records, catalogs.projection, remembered) for p in people}
    gone = stitched.keys() - rows.keys()
    done.users = _write_rows(tx, "users", "user_id", catalogs.user_columns, rows, gone)
    return done


def _write_identities(
    tx: Transaction, people: Sequence[Person], shared: set[str], records: Mapping[str, identity.Record]
) -> dict[str, str]:
    """Replace the aliases of these records; point earlier events at the people their aliases belong to now."""
    rows = identity.identities(people, shared)
    aliases = sorted({*records, *(r.email for r in records.values() if r.email)})
    if not aliases:
        return {}
    stored = tx.rows("SELECT alias, kind, user_id, since, why FROM identities WHERE alias = any(?)", [aliases])
    old = {row["alias"]: row for row in stored}
    new = {row["alias"]: row for row in rows}
    differing = [alias for alias in aliases if not _same_alias(old.get(alias), new.get(alias))]
    tx.delete("identities", "alias", [alias for alias in differing if alias in old])
    tx.append("identities", tables.IDENTITIES, [new[alias] for alias in differing if alias in new])
    user_of = {alias: row["user_id"] for alias, row in new.items()}
    moved = {a: user_of.get(a) for a in differing if (old.get(a) or {}).get("user_id") != user_of.get(a)}
    _repoint(tx, moved)
    return user_of


def _repoint(tx: Transaction, moved: Mapping[str, str | None]) -> None:
    """Give earlier events of these aliases their present user; most new aliases have no earlier event."""
    if not moved:
        return
    for table in ("events", "changes"):
        there = tx.rows(f"SELECT DISTINCT alias FROM {table} WHERE alias = any(?)", [sorted(moved)])
        stale = {row["alias"]: moved[row["alias"]] for row in there}
        if stale:
            tx.update(table, "alias", "user_id", stale)


def _same_alias(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    if old is None or new is None:
        return old is new
    return all(old[key] == new[key] for key in ("kind", "user_id", "since", "why"))


def _write_rows(
    tx: Transaction,
    table: str,
    key: str,
    columns: Sequence[Column],
    rows: Mapping[str, Mapping[str, Any]],
    gone: Iterable[str],
) -> int:
    """Write the rows whose content differs from the last one written, delete those that are gone."""
    hashes = {i: row_hash(row) for i, row in rows.items()}
    ids = sorted({*rows, *gone})
    stored = tx.rows('SELECT key, hash FROM headrace.hashes WHERE "table" = ? AND key = any(?)', [table, ids])
    old = {row["key"]: row["hash"] for row in stored}
    differing = [i for i in rows if old.get(i) != hashes[i]]
    gone_ids = [i for i in gone if i in old]
    if gone_ids:
        tx.delete(table, key, gone_ids)
        tx.delete("headrace.hashes", "key", gone_ids)
    if differing:
        marks = {i: {"table": table, "key": i, "hash": hashes[i]} for i in differing}
        write(tx, table, (key,), columns, rows, differing, old)
        write(tx, "headrace.hashes", ("key",), tables.HASHES, marks, differing, old)
    return len(differing) + len(gone_ids)


def write(
    tx: Transaction,
    table: str,
    key: Sequence[str],
    columns: Sequence[Column],
    rows: Mapping[str, Mapping[str, Any]],
    wanted: Iterable[str],
    known: Container[str],
) -> None:
    """Write the wanted rows: in place of those that are known to be there, else at the end, which costs less."""
    there = [i for i in wanted if i in known]
    tx.upsert(table, key, columns, [rows[i] for i in there])
    tx.append(table, columns, [rows[i] for i in wanted if i not in known])


def row_hash(row: Mapping[str, Any]) -> str:
    """Return a hash by which an unchanged row is known again: rows of one shape list their values in one order."""
    return blake2b(exactjson.dumps(row), digest_size=12).hexdigest()
