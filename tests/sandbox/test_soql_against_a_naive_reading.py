"""Random conditions over random rows, answered by the engine and by plain Python."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from integration.sandbox.clock import VirtualClock, stamp
from integration.sandbox.ids import record_id
from integration.sandbox.org import Org, OrgError
from integration.sandbox.query import run
from integration.sandbox.table import SortedKeys

Record = dict[str, Any]
Case = tuple[str, Callable[[Record], bool]]
"""SOQL text, and the same condition in Python."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMPS = [stamp(NOW + timedelta(seconds=n)) for n in range(4)]
KEYS = [record_id("006", n) for n in (1, 2, 3, 9, 10, 11, 35, 36, 61, 62)]
WORDS = [None, "a", "A", "ab", "Ab_", "b%", "O'b"]
NUMBERS = [None, 0.0, 1.0, 2.5]
OPS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a is not None and a < b,
    "<=": lambda a, b: a is not None and a <= b,
    ">": lambda a, b: a is not None and a > b,
    ">=": lambda a, b: a is not None and a >= b,
}


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def folded(value: str | None) -> str | None:
    return None if value is None else value.lower()


def compare(name: str, op: str, shown: str, value: Any, read: Callable[[Any], Any] = lambda v: v) -> Case:
    return f"{name} {op} {shown}", lambda r: OPS[op](read(r[name]), value)


ops = st.sampled_from(sorted(OPS))
leaves: st.SearchStrategy[Case] = st.one_of(
    st.builds(lambda op, v: compare("SystemModstamp", op, v.replace("+0000", "Z"), v), ops, st.sampled_from(STAMPS)),
    st.builds(lambda op, v: compare("Id", op, quoted(v), v), ops, st.sampled_from(KEYS)),
    st.builds(lambda op, v: compare("Amount", op, str(v), v), ops, st.sampled_from(NUMBERS[1:])),
    st.builds(lambda op, v: compare("NextStep", op, quoted(v), v.lower(), folded), ops, st.sampled_from(WORDS[1:])),
    st.builds(lambda n: (f"{n} = null", lambda r: r[n] is None), st.sampled_from(["Amount", "NextStep"])),
    st.builds(lambda n: (f"{n} != null", lambda r: r[n] is not None), st.sampled_from(["Amount", "NextStep"])),
    st.builds(lambda v: (f"IsDeleted = {v}", lambda r: r["IsDeleted"] is v), st.booleans()),
    st.builds(
        lambda v: (f"NextStep LIKE {quoted(v)[:-1]}%'", lambda r: (folded(r["NextStep"]) or "\0").startswith(v)),
        st.sampled_from(["a", "b", "o'"]),
    ),
    st.builds(
        lambda vs: (f"Id IN ({', '.join(map(quoted, vs))})", lambda r: r["Id"] in vs),
        st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
    ),
    st.builds(
        lambda vs: (
            f"NextStep NOT IN ({', '.join(map(quoted, vs))})",
            lambda r: folded(r["NextStep"]) not in [v.lower() for v in vs],
        ),
        st.lists(st.sampled_from(WORDS[1:]), min_size=1, max_size=3),
    ),
)


def both(cases: list[Case]) -> Case:
    return " AND ".join(f"({t})" for t, _ in cases), lambda r: all(p(r) for _, p in cases)


def either(cases: list[Case]) -> Case:
    return " OR ".join(f"({t})" for t, _ in cases), lambda r: any(p(r) for _, p in cases)


conditions: st.SearchStrategy[Case] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(both),
        st.lists(inner, min_size=2, max_size=3).map(either),
        inner.map(lambda case: (f"NOT ({case[0]})", lambda r: not case[1](r))),
    ),
    max_leaves=6,
)
rows = st.lists(
    st.tuples(st.sampled_from(STAMPS), st.sampled_from(WORDS), st.sampled_from(NUMBERS), st.booleans()),
    max_size=len(KEYS),
)
orders = st.lists(
    st.tuples(st.sampled_from(["SystemModstamp", "Id", "Amount", "NextStep"]), st.booleans(), st.booleans()),
    max_size=3,
    unique_by=lambda key: key[0],
)


def org_with(contents: list[tuple[str, str | None, float | None, bool]]) -> Org:
    org = Org(clock=VirtualClock(NOW))
    for key, (at, word, number, deleted) in zip(KEYS, contents, strict=False):
        fields = {"Id": key, "Name": key, "SystemModstamp": at, "NextStep": word, "Amount": number}
        org.load("Opportunity", fields | {"IsDeleted": deleted, "CreatedDate": STAMPS[0]})
    return org


def sorted_plainly(records: list[Record], order: list[tuple[str, bool, bool]]) -> list[Record]:
    def before(a: Record, b: Record) -> int:
        for name, descending, nulls_last in order:
            x, y = (folded(r[name]) if name == "NextStep" else r[name] for r in (a, b))
            if x == y:
                continue
            if x is None or y is None:
                return 1 if (x is None) == nulls_last else -1
            return (1 if x > y else -1) * (-1 if descending else 1)
        return 0

    return sorted(records, key=cmp_to_key(before))


def ask(org: Org, text: str, *, include_deleted: bool) -> list[str]:
    with org.lock:
        return [record["Id"] for record in run(org, text, include_deleted=include_deleted).page(0, 2000)]


@settings(max_examples=250, deadline=None)
@given(rows, conditions, orders, st.booleans(), st.one_of(st.none(), st.integers(0, 4)), st.integers(0, 3))
def test_the_engine_and_a_naive_filter_agree(contents, case, order, include_deleted, limit, offset):
    org = org_with(contents)
    text, test = case
    total_order = [*order, ("Id", False, False)] if all(name != "Id" for name, _, _ in order) else order
    by = ", ".join(
        f"{name} {'DESC' if down else 'ASC'} NULLS {'LAST' if last else 'FIRST'}" for name, down, last in total_order
    )
    soql = f"SELECT Id FROM Opportunity WHERE {text} ORDER BY {by}"
    soql += ("" if limit is None else f" LIMIT {limit}") + (f" OFFSET {offset}" if offset else "")
    plain = sorted_plainly(
        [r for r in org.records("Opportunity", include_deleted=include_deleted) if test(r)], total_order
    )
    stop = None if limit is None else offset + limit
    assert ask(org, soql, include_deleted=include_deleted) == [r["Id"] for r in plain][offset:stop]


@settings(max_examples=100, deadline=None)
@given(rows, st.integers(1, 4))
def test_keyset_paging_visits_every_row_once_in_order(contents, page_size):
    org = org_with(contents)
    at, last, seen = "2000-01-01T00:00:00.000+0000", "", []
    for _ in range(len(KEYS) + 1):
        where = f"(SystemModstamp = {at} AND Id > '{last}') OR SystemModstamp > {at}"
        soql = f"SELECT Id FROM Opportunity WHERE {where} ORDER BY SystemModstamp, Id LIMIT {page_size}"
        page = ask(org, soql, include_deleted=True)
        if not page:
            break
        seen += page
        last = page[-1]
        at = org.get("Opportunity", last)["SystemModstamp"]
    records = org.records("Opportunity", include_deleted=True)
    assert seen == [r["Id"] for r in sorted(records, key=lambda r: (r["SystemModstamp"], r["Id"]))]


steps = st.lists(
    st.tuples(
        st.sampled_from(["insert", "update", "touch", "delete", "undelete", "purge", "late"]),
        st.integers(0, 5),
        st.integers(0, 2),
    ),
    max_size=25,
)


def take(org: Org, clock: VirtualClock, action: str, target: int) -> None:
    """Do one thing to the record that `target` points at, if it can be done."""
    known = org.records("Account", include_deleted=True)
    if action == "insert" or not known:
        org.insert("Account", {"Name": "New"})
        return
    key = known[target % len(known)]["Id"]
    with suppress(OrgError):
        if action == "update":
            org.update("Account", key, {"Name": f"Name {target}"})
        elif action == "late":
            with org.begin() as transaction:
                transaction.update("Account", key, {"Name": f"Late {target}"})
                transaction.insert("Account", {"Name": "Late"})
                clock.advance(2)
        else:
            getattr(org, action)("Account", key)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_whatever_happens_every_index_shows_each_record_once_and_in_order(happenings):
    clock = VirtualClock(NOW)
    org = Org(clock=clock)
    for action, target, seconds in happenings:
        clock.advance(seconds)
        take(org, clock, action, target)
    records = org.records("Account", include_deleted=True)
    by_stamp = [r["Id"] for r in sorted(records, key=lambda r: (r["SystemModstamp"], r["Id"]))]
    everything = "SELECT Id FROM Account WHERE SystemModstamp > 2000-01-01T00:00:00Z"
    assert ask(org, f"{everything} ORDER BY SystemModstamp, Id", include_deleted=True) == by_stamp
    assert ask(org, f"{everything} ORDER BY SystemModstamp DESC, Id DESC", include_deleted=True) == by_stamp[::-1]
    assert ask(org, "SELECT Id FROM Account ORDER BY Id", include_deleted=True) == [r["Id"] for r in records]
    in_bin = {r["Id"] for r in records if r["IsDeleted"]}
    gone = {c.record_id for c in org.commits if c.kind == "purged"}
    assert {key for key, _ in org.deleted_log("Account")} == in_bin | gone
    last = {c.record_id: c.after for c in org.commits if c.object == "Account"}
    assert {key: after["Name"] for key, after in last.items() if after} == {r["Id"]: r["Name"] for r in records}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5000)), max_size=300), st.integers(0, 5000), st.integers(0, 5000)
)
def test_sorted_keys_behave_like_a_sorted_list(steps, low, high):
    keys, plain = SortedKeys(), set()
    for number in range(0, 5000, 2):
        keys.add(f"{number:04d}")
        plain.add(f"{number:04d}")
    for add, number in steps:
        key = f"{number:04d}"
        if add and key not in plain:
            keys.add(key)
            plain.add(key)
        elif not add and key in plain:
            keys.remove(key)
            plain.discard(key)
    wanted = sorted(key for key in plain if f"{low:04d}" <= key <= f"{high:04d}")
    assert list(keys.between(f"{low:04d}", f"{high:04d}")) == wanted
    assert list(keys.between_backwards(f"{low:04d}", f"{high:04d}")) == wanted[::-1]
