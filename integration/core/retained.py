"""Events that no capture tells any more, because the archive was shortened: kept, in the words of now. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from integration.core import exactjson

Row = dict[str, Any]


def retained(
    events: Iterable[Mapping[str, Any]],
    changes: Iterable[Mapping[str, Any]],
    present_name: Callable[[str, str, str | None], str | None],
    dropped: Callable[[str, str], bool],
) -> tuple[list[Row], list[Row]]:
    """Return stored rows of `events` and `changes` as they are to stand from now on.

    `present_name` says of (object, field, property) what the property is called by now. Changes of fields that are
    `dropped` by the settings are told no more; an event that told of nothing else is left out with them.
    """
    kept_changes = [
        {**change, "property": present_name(change["object"], change["field"], change["property"])}
        for change in changes
        if not dropped(change["object"], change["field"])
    ]
    kept_events = []
    for event in events:
        properties = exactjson.loads(event["properties"])
        told = properties.get("changes") or []
        properties["changes"] = _retained(event["object"], told, present_name, dropped)
        if told and not properties["changes"]:
            continue
        same = properties["changes"] == told
        kept_events.append({**event, "properties": event["properties"] if same else exactjson.dumps(properties)})
    return kept_events, kept_changes


def _retained(
    object_name: str,
    told: Sequence[Mapping[str, Any]],
    present_name: Callable[[str, str, str | None], str | None],
    dropped: Callable[[str, str], bool],
) -> list[Row]:
    return [
        {**change, "property": present_name(object_name, change["field"], change["property"])}
        for change in told
        if not dropped(object_name, change["field"])
    ]
