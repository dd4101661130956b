"""S3-22: `public_accounts` lists accounts under names that only the key connects with them."""

import hashlib
import hmac
from base64 import b32encode
from typing import Any

import pytest
from batches import NOW, Stream, record, schema_of

from consumers.apply import Flattener
from consumers.rules import Rules
from integration.core import catalog
from integration.store.answers import ask
from integration.store.protocol import Store
from integration.store.pseudonyms import Pseudonyms

pytestmark = pytest.mark.slow_on("clickhouse")

SCHEMA = schema_of("Account", {"Name": "string", "Industry": "picklist", "NumberOfEmployees": "int"})
BODIES = {SCHEMA.schema_id: catalog.to_json(SCHEMA)}
SIZES = {1: (None, None), 2: (1, "1-10"), 3: (11, "11-50"), 4: (1000, "201-1000"), 5: (10_001, "over 10000")}


def name_of(number: int, key: bytes) -> str:
    digest = hmac.new(key, b"account " + record("Account", number).encode(), hashlib.sha256).digest()
    return "account-" + b32encode(digest)[:12].decode().lower()


def test_s3_22_pseudonyms_are_stable_and_tell_nothing(store: Store) -> None:
    stream = Stream()

    def shown(pseudonyms: Pseudonyms) -> list[dict[str, Any]]:
        one = Flattener(store, Rules({}, {}, pseudonyms=pseudonyms), now=lambda: NOW, fetch_schema=BODIES.get)
        while one.marts.refresh():
            pass
        return ask(store, "SELECT * FROM public_accounts ORDER BY pseudonym")

    def seen(number: int, hour: int, **fields: Any) -> None:
        entry = stream.entry({"Account": SCHEMA}, "Account", number, f"02-01T{hour:02d}:00:00", **fields)
        worker.apply([entry])

    worker = Flattener(store, Rules({}, {}), now=lambda: NOW, fetch_schema=BODIES.get)
    worker.announce([SCHEMA])
    for number, (employees, _) in SIZES.items():
        seen(number, 1, Name=f"Acme {number}", Industry="Energy", NumberOfEmployees=employees)
    assert shown(Pseudonyms()) == []

    first = shown(Pseudonyms("first key"))
    nothing = {"industry": None, "size": None}
    assert first == sorted(
        ({"pseudonym": name_of(number, b"first key"), **nothing} for number in SIZES), key=lambda row: row["pseudonym"]
    )
    sizes = {row["pseudonym"]: row["size"] for row in shown(Pseudonyms("first key", ["size"]))}
    assert sizes == {name_of(number, b"first key"): band for number, (_, band) in SIZES.items()}
    both = shown(Pseudonyms("first key", ["size", "industry"]))
    assert {row["industry"] for row in both} == {"Energy"}
    others = {row["pseudonym"] for row in shown(Pseudonyms("second key"))}
    assert len(others | sizes.keys()) == 2 * len(SIZES)

    worker = Flattener(store, Rules({}, {}), now=lambda: NOW, fetch_schema=BODIES.get)
    seen(1, 2, Name="Renamed", Industry=None, NumberOfEmployees=3)
    seen(2, 2, Name="Acme 2", Industry="Energy", NumberOfEmployees=1, IsDeleted=True)
    assert shown(Pseudonyms("first key")) == [row for row in first if row["pseudonym"] != name_of(2, b"first key")]
    assert shown(Pseudonyms()) == []


def test_s3_22_the_key_is_in_no_table_and_in_no_text(store: Store) -> None:
    rules = Rules({}, {}, pseudonyms=Pseudonyms("a long secret", ["size"]))
    worker = Flattener(store, rules, now=lambda: NOW, fetch_schema=BODIES.get)
    worker.announce([SCHEMA])
    worker.marts.refresh()
    assert "a long secret" not in repr(rules)
    assert "a long secret" not in str(ask(store, "SELECT * FROM headrace.meta"))
