"""`headrace personas impact`: what is asked for by which words (who is counted: tests/contracts)."""

from typing import Any

import pytest


def test_an_object_is_no_event_where_one_is_asked_for(sample: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample.run("personas", "impact", "Opportunity") == 0
    assert capsys.readouterr().out.startswith("PERSONA ")
    assert sample.run("personas", "impact", "Opportunity", "--event") == 2
    assert "no event of the product, Opportunity." in capsys.readouterr().err
