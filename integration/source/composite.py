"""Several resources in one call: the body of /composite, and what its answer says of each. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from integration.errors import HeadraceError, UnreachableError
from integration.source import faults

QUERIES_PER_CALL: Final = 5
"""How many queries one composite call may carry; together they cost one API call."""

RESOURCES_PER_CALL: Final = 25
"""How many resources other than queries it may carry."""

REFUSED: Final = (400, 404, 405, 501)
"""What a server or proxy says of a resource that it does not know, or not inside a composite."""

# Of these codes an object is to blame, or what was asked of it; not the way it was asked.
_OF_THE_OBJECT = ("INVALID_TYPE", "INVALID_REPLICATION_DATE", "EXCEEDED_ID_LIMIT", "REQUEST_LIMIT_EXCEEDED")


class Part(NamedTuple):
    """The answer to one subrequest: HTTP status and body."""

    status: int
    body: Any

    @property
    def is_good(self) -> bool:
        """True for an answer that carries what was asked for."""
        return self.status < 300

    @property
    def is_unclear(self) -> bool:
        """True for a refusal that may mean "not inside a composite" as well as "no such object"."""
        return self.status in REFUSED and faults.code_and_message(self.body)[0] not in _OF_THE_OBJECT

    def problem(self, about: str, *, is_object: bool = False) -> HeadraceError:
        """Translate a part that is not good."""
        return faults.refusal(self.status, self.body, about, is_object=is_object)

    @property
    def passing(self) -> faults.PassingError | None:
        """The trouble that this part met if it may be over in a moment: busy, or an error of the server's own."""
        if self.is_good:
            return None
        problem = self.problem("a part of a packet")
        if isinstance(problem, faults.PassingError):
            return problem
        of_the_server = self.status >= 500 and self.status not in REFUSED and isinstance(problem, UnreachableError)
        return faults.PassingError(str(problem)) if of_the_server else None


def body_of(api_version: str, paths: Sequence[str]) -> dict[str, Any]:
    """Return the body that asks for the paths, each with its query, below the address of the API version."""
    return {
        "allOrNone": False,
        "compositeRequest": [
            {"method": "GET", "url": f"/services/data/v{api_version}/{path}", "referenceId": f"q{number}"}
            for number, path in enumerate(paths)
        ],
    }


def parts_of(answer: Any, count: int) -> list[Part]:
    """Read the answer, which must have `count` parts. Raises KeyError, TypeError or ValueError for anything else."""
    parts = [Part(int(part["httpStatusCode"]), part["body"]) for part in answer["compositeResponse"]]
    if len(parts) == 1 and not parts[0].is_good:
        return parts * count  # what is wrong with the packet as a whole is told once
    if len(parts) != count:
        raise ValueError("answers are missing")
    return parts
