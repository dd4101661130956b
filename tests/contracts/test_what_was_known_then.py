import batches

from integration.store.answers import ask
from integration.store.protocol import Store


def test_x(store: Store) -> None:
    fl = batches.flattener(store)
    for b in batches.batches():
        fl.apply(b)
    assert [len(ask(store, f"SELECT * FROM {v}")) for v in ("record_values", "user_records", "user_values")] == [
        150,
        10,
        150,
    ]
