"""Which objects are watched, and what they look like in this org."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from integration.core.catalog import ObjectSchema, schema_from_describe
from integration.core.history import parent_of
from integration.errors import HeadraceError, UsageError
from integration.source.client import SalesforceClient
from integration.source.faults import UnknownObjectError
from integration.source.histories import narrowed


@dataclass(frozen=True, slots=True)
class WatchedObject:
    """An object to be read: its API name, globs of fields to take (all, when empty) and to leave out.

    `required` says that the user named it: then it is an error, not a note, if the org has no such object. `quiet`
    says that nobody did: then it is not even a note.
    """

    name: str
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: bool = False
    quiet: bool = False


class Catalog:
    """The schemas of the watched objects, as last described."""

    def __init__(self, client: SalesforceClient, objects: Sequence[WatchedObject]) -> None:
        self._client = client
        self._watched = {w.name.lower(): w for w in objects}
        self._shown: dict[str, dict[str, Any]] = {}
        self.schemas: dict[str, ObjectSchema] = {}
        """What is read, in the order in which it is watched."""
        self.skipped: dict[str, str] = {}
        """Why an object is not read: name -> sentence."""
        self.parents: dict[str, str] = {}
        """Of the history objects that are read: name -> the object whose history it holds."""
        self.is_described = False
        """False before the first `describe`: only that one takes a missing object for the user's mistake."""

    def describe(self) -> list[ObjectSchema]:
        """Describe every watched object anew; return all that can be read.

        Raises UsageError the first time for a required one that can't be read; later that one is skipped like others.
        """
        shown = {str(o["name"]).lower(): o for o in self._client.objects()}
        readable = [key for key in self._watched if shown.get(key, {}).get("queryable", key in shown)]
        names = {key: str(shown[key]["name"]) for key in readable}
        described = self._client.describes(list(names.values()))
        self._shown, self.schemas, self.skipped, self.parents = shown, {}, {}, {}
        # Histories after all others: which of their columns may be read depends on their parents.
        for key in sorted(self._watched, key=lambda key: self._parent_key(key) is not None):
            if key in names:
                self._enter(key, names[key], described[names[key]])
            else:
                self._skip_hidden(key)
        order = {key: place for place, key in enumerate(self._watched)}
        self.schemas = dict(sorted(self.schemas.items(), key=lambda entry: order[entry[0].lower()]))
        self.is_described = True
        return list(self.schemas.values())

    def refresh(self, name: str) -> ObjectSchema | None:
        """Describe one object again; None if it can't be read any more (see `skipped`)."""
        try:
            self._enter(name.lower(), name, self._client.describe(name))
        except UnknownObjectError as error:
            self._enter(name.lower(), name, error)
        return self.schemas.get(name)

    def drop(self, name: str, reason: str) -> None:
        """Stop reading an object until the next `describe`."""
        self.schemas.pop(name, None)
        self._skip(self._watched[name.lower()], name, reason)

    def has_delete_log(self, name: str) -> bool:
        """Say whether the object's deletions are logged."""
        return bool(self._shown.get(name.lower(), {}).get("replicateable", True))

    def _enter(self, key: str, name: str, answer: dict[str, Any] | HeadraceError) -> None:
        """Take note of an object's description, or of why there is none."""
        watched = self._watched[key]
        found = answer if isinstance(answer, HeadraceError) else self._schema(watched, name, answer)
        if isinstance(found, ObjectSchema):
            self.schemas[name] = found
            return
        self.schemas.pop(name, None)
        if watched.required and not self.is_described and not isinstance(found, (str, UnknownObjectError)):
            raise found
        self._skip(watched, name, str(found))

    def _schema(self, watched: WatchedObject, name: str, described: dict[str, Any]) -> ObjectSchema | str:
        """Return how an object is to be read, or a sentence why it can't be."""
        schema = schema_from_describe(described, only=watched.only, exclude=watched.exclude)
        if schema is None:
            return f"{name} has neither SystemModstamp nor CreatedDate to read it by."
        parent_key = self._parent_key(name.lower())
        if parent_key is None:
            return schema
        parent = next((s for s in self.schemas.values() if s.object.lower() == parent_key), None)
        if parent is None:
            parent_name = self._shown[parent_key]["name"]
            return (
                f"{name} holds the history of {parent_name}, which is not read, so nobody can tell what of it the "
                f"settings keep out: set objects.{parent_name}.enabled = true."
            )
        self.parents[name] = parent.object
        return narrowed(schema, parent)

    def _parent_key(self, key: str) -> str | None:
        """Return the key of the object whose history this one holds; None if it is not a history."""
        parent = parent_of(str(self._shown[key]["name"])) if key in self._shown else None
        return parent.lower() if parent is not None and parent.lower() in self._shown else None

    def _skip_hidden(self, key: str) -> None:
        watched, shown = self._watched[key], self._shown.get(key)
        if shown is None:
            reason = f"The org has no object '{watched.name}' that this login may read{self._hint(key)}."
            self._skip(watched, watched.name, reason)
        else:
            self._skip(watched, str(shown["name"]), f"{shown['name']} can't be queried in this org.")

    def _skip(self, watched: WatchedObject, name: str, reason: str) -> None:
        if watched.required and not self.is_described:
            raise UsageError(f"{reason.rstrip('.')}; take it out of the settings, or see that the login may read it.")
        if not watched.quiet:
            self.skipped[name] = reason

    def _hint(self, key: str) -> str:
        close = get_close_matches(key, self._shown, n=1)
        return f" (did you mean {self._shown[close[0]]['name']}?)" if close else ""
