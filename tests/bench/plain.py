"""What anyone would write in an afternoon: simple-salesforce into DuckDB, raw rows only. The bench's yardstick.

first    everything, into new tables
changes  what was saved since the newest row of each table, in place of the old rows
quiet    the same question again and again inside one process, N times; prints what it cost (JSON)

No events, no people, no positions, no streams, nothing to go on from after a crash.
"""

import json
import sys
import time
from typing import Any

import duckdb
import pyarrow as pa
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce

UNREADABLE = {"address", "location", "base64"}


class ToLoopback(HTTPAdapter):
    """Sends what is meant for Salesforce to the sandbox org."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # type: ignore[override]
        request.url = self._base_url + "/" + str(request.url).split("/", 3)[3]
        return super().send(request, **more)


class Script:
    """An org and a file."""

    def __init__(self, base_url: str, database: str, key: str, secret: str, objects: tuple[str, ...]) -> None:
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", ToLoopback(base_url))
        self.org = Salesforce(
            domain="sandbox.my", consumer_key=key, consumer_secret=secret, session=session, version="66.0"
        )
        self.store = duckdb.connect(database)
        self.objects = objects

    def first(self) -> None:
        """Read everything into new tables."""
        for name in self.objects:
            fields = self.fields(name)
            rows = self.org.query_all(f"SELECT {','.join(fields)} FROM {name}", include_deleted=True)["records"]
            self.store.register("page", table(rows, fields))
            self.store.execute(f'CREATE TABLE "{name}" AS SELECT * FROM page')
            self.store.unregister("page")

    def changes(self) -> None:
        """Read what is new, and put it in place of what was there.

        DELETE and INSERT, because DuckDB's INSERT OR REPLACE takes many times as long on tables as wide as these.
        """
        for name in self.objects:
            self.take(name, self.fields(name))

    def quiet(self, polls: int) -> dict[str, float]:
        """Ask for what is new so many times; return CPU and wall seconds, the start not counted."""
        fields = {name: self.fields(name) for name in self.objects}
        cpu, wall = time.process_time(), time.monotonic()
        for _ in range(polls):
            for name in self.objects:
                self.take(name, fields[name])
        return {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}

    def take(self, name: str, fields: list[str]) -> None:
        stamp = "SystemModstamp" if "SystemModstamp" in fields else "CreatedDate"
        ((newest,),) = self.store.execute(f'SELECT max("{stamp}") FROM "{name}"').fetchall()
        since = f" WHERE {stamp} > {newest[:19]}Z" if newest else ""
        soql = f"SELECT {','.join(fields)} FROM {name}{since}"
        rows = self.org.query_all(soql, include_deleted=True)["records"]
        if not rows:
            return
        self.store.register("page", table(rows, fields))
        self.store.execute("BEGIN")
        self.store.execute(f'DELETE FROM "{name}" WHERE "Id" IN (SELECT "Id" FROM page)')
        self.store.execute(f'INSERT INTO "{name}" SELECT * FROM page')
        self.store.execute("COMMIT")
        self.store.unregister("page")

    def fields(self, name: str) -> list[str]:
        """Name the fields of an object that a query can carry."""
        described: Any = self.org.restful(f"sobjects/{name}/describe")
        return [f["name"] for f in described["fields"] if f["type"] not in UNREADABLE]


def table(rows: list[dict[str, Any]], fields: list[str]) -> pa.Table:
    """Return rows as columns of text."""
    return pa.table({f: pa.array([None if r[f] is None else str(r[f]) for r in rows], pa.string()) for f in fields})


def main(how: str, base_url: str, database: str, key: str, secret: str, *objects: str) -> None:
    script = Script(base_url, database, key, secret, objects)
    if how == "first":
        script.first()
    elif how == "changes":
        script.changes()
    else:
        sys.stdout.write(json.dumps(script.quiet(int(how))))
    script.store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
