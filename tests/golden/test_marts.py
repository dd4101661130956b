"""The SQL of the marts, for an org that has every column they look for, in the dialect of each kind of store.

After a change that is wanted: `pytest tests/golden --write-golden`, and read the difference.
"""

from pathlib import Path

import pytest

from integration.store.dialects import Dialect, said_in
from integration.store.marts import MARTS, full_shape

HERE = Path(__file__).parent / "marts"


@pytest.mark.parametrize("dialect", list(Dialect))
def test_the_sql_of_the_marts_is_what_the_golden_files_say(dialect: Dialect, pytestconfig: pytest.Config) -> None:
    folder = HERE / dialect.value
    told = {f"{mart.name}.sql": said_in(dialect, mart.everything(full_shape())).strip() + "\n" for mart in MARTS}
    if pytestconfig.getoption("--write-golden"):
        folder.mkdir(parents=True, exist_ok=True)
        for stray in {path.name for path in folder.iterdir()} - told.keys():
            (folder / stray).unlink()
        for name, text in told.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == told.keys()
    for name, text in told.items():
        assert text.splitlines() == (folder / name).read_text(encoding="utf-8").splitlines(), name
