from enum import StrEnum

from schemas.base import Frozen, Stamp


class IdentityKind(StrEnum):
    """What kind of name an alias is."""

    EMAIL = "email"
    CONTACT_ID = "contact_id"
    LEAD_ID = "lead_id"
    MERGED_CONTACT_ID = "merged_contact_id"
    ANONYMOUS_ID = "anonymous_id"
    PRODUCT_USER_ID = "product_user_id"


class Identity(Frozen):
    """A row of `identities`: the statement that an id or e-mail belongs to a user, and why."""

    alias: str
    kind: IdentityKind
    user_id: str
    since: Stamp | None
    why: str
    """The rule that joined them, in words."""
