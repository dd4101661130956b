"""Those who work in Salesforce: who they are, and what of the events is their doing."""

from collections.abc import Collection

_NOBODY = "SELECT CAST(NULL AS VARCHAR) AS id WHERE FALSE"
_USUAL = ("name", "email", "username", "title", "department", "companyname", "usertype", "profileid", "userroleid",
          "managerid")  # fmt: skip
"""Fields of User that conditions may name in any org: null where it does not show them."""
_MOVED_ALONE = ("LastActivityDate", "LastLoginDate")
"""Fields that Salesforce moves by itself. LastModifiedById is then still whoever saved the record before."""

DONE_BY_THEM = (
    "(name LIKE '% Created' OR (origin NOT IN ('sweep', 'backfill') AND (name NOT LIKE '% Updated' "
    f"OR coalesce(properties->>'$.changes[0].field', '') NOT IN {_MOVED_ALONE} "
    "OR coalesce(properties->>'$.changes[1].field', '') <> '')))"
)
"""The condition that an event is its actor's own doing. What a sweep or a backfill noticed came without a stamp: its
`actor_id` is whoever saved the record last."""


def salesforce_users(columns: Collection[str] | None) -> str:
    """Return the SELECT of those who may work in Salesforce now. `columns` are those of User; None: it is not read."""
    if columns is None:
        return _NOBODY
    missing = [f"CAST(NULL AS VARCHAR) AS {name}" for name in _USUAL if name not in columns]
    active = " AND isactive" if "isactive" in columns else ""
    return f"SELECT {', '.join(['*', *missing])} FROM salesforce.user WHERE NOT is_deleted{active}"
