"""What anyone would write in an afternoon: simple-salesforce into DuckDB, raw rows only. The bench's yardstick."""

import sys

import duckdb
import pyarrow as pa
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce

UNREADABLE = {"address", "location", "base64"}


class ToLoopback(HTTPAdapter):
    """Sends what is meant for Salesforce to the sandbox org."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def send(self, request: requests.PreparedRequest, **more: object) -> requests.Response:  # type: ignore[override]
        request.url = self._base_url + "/" + str(request.url).split("/", 3)[3]
        return super().send(request, **more)  # type: ignore[arg-type]


def main(base_url: str, database: str, key: str, secret: str, *objects: str) -> None:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToLoopback(base_url))
    org = Salesforce(domain="sandbox.my", consumer_key=key, consumer_secret=secret, session=session, version="66.0")
    store = duckdb.connect(database)
    for name in objects:
        fields = [f["name"] for f in org.restful(f"sobjects/{name}/describe")["fields"] if f["type"] not in UNREADABLE]
        rows = org.query_all(f"SELECT {','.join(fields)} FROM {name}", include_deleted=True)["records"]
        columns = {f: pa.array([None if r[f] is None else str(r[f]) for r in rows], pa.string()) for f in fields}
        store.register("page", pa.table(columns))
        store.execute(f'CREATE TABLE "{name}" AS SELECT * FROM page')
        store.unregister("page")
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
