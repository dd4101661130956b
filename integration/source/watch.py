"""Which objects are watched, and what they look like in this org."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from integration.core.catalog import ObjectSchema, schema_from_describe
from integration.errors import UsageError
from integration.source.client import SalesforceClient
from integration.source.faults import UnknownObjectError


@dataclass(frozen=True, slots=True)
class WatchedObject:
    """An object to be read: its API name, globs of fields to take (all, when empty) and to leave out.

    `required` says that the user named it: then it is an error, not a note, if the org has no such object.
    """

    name: str
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: bool = False


class Catalog:
    """The schemas of the watched objects, as last described."""

    def __init__(self, client: SalesforceClient, objects: Sequence[WatchedObject]) -> None:
        self._client = client
        self._watched = {w.name.lower(): w for w in objects}
        self._shown: dict[str, dict[str, Any]] = {}
        self.schemas: dict[str, ObjectSchema] = {}
        self.skipped: dict[str, str] = {}
        """Why an object is not read: name -> sentence."""

    def describe(self) -> list[ObjectSchema]:
        """Describe every watched object anew. Raises UsageError for a required one that can't be read."""
        self._shown = {str(o["name"]).lower(): o for o in self._client.objects()}
        self.schemas, self.skipped = {}, {}
        for key in self._watched:
            self._describe(key)
        return list(self.schemas.values())

    def refresh(self, name: str) -> ObjectSchema | None:
        """Describe one object again; None if it can't be read any more (see `skipped`)."""
        self.schemas.pop(name, None)
        return self._describe(name.lower())

    def drop(self, name: str, reason: str) -> None:
        """Stop reading an object until the next `describe`. Raises UsageError if it is required."""
        self.schemas.pop(name, None)
        self._skip(self._watched[name.lower()], name, reason)

    def has_delete_log(self, name: str) -> bool:
        """Say whether the object's deletions are logged."""
        return bool(self._shown.get(name.lower(), {}).get("replicateable", True))

    def _describe(self, key: str) -> ObjectSchema | None:
        watched = self._watched[key]
        shown = self._shown.get(key)
        name = str(shown["name"]) if shown else watched.name
        if shown is None:
            self._skip(watched, name, f"The org has no object '{name}' that this login may read{self._hint(key)}.")
        elif not shown.get("queryable", True):
            self._skip(watched, name, f"{name} can't be queried in this org.")
        else:
            return self._schema(watched, name)
        return None

    def _schema(self, watched: WatchedObject, name: str) -> ObjectSchema | None:
        try:
            describe = self._client.describe(name)
        except UnknownObjectError as error:
            self._skip(watched, name, str(error))
            return None
        schema = schema_from_describe(describe, only=watched.only, exclude=watched.exclude)
        if schema is None:
            self._skip(watched, name, f"{name} has neither SystemModstamp nor CreatedDate to read it by.")
            return None
        self.schemas[name] = schema
        return schema

    def _skip(self, watched: WatchedObject, name: str, reason: str) -> None:
        if watched.required:
            raise UsageError(f"{reason.rstrip('.')}; take it out of the settings, or see that the login may read it.")
        self.skipped[name] = reason

    def _hint(self, key: str) -> str:
        close = get_close_matches(key, self._shown, n=1)
        return f" (did you mean {self._shown[close[0]]['name']}?)" if close else ""
