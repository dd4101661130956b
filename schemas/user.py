from pydantic import ConfigDict, JsonValue

from schemas.base import Frozen, RecordId, Stamp


class User(Frozen):
    """A row of `users`: one person, with the current state of everything the CRM knows.

    Beside these columns stand the properties: `sfdc_contact_*`, `sfdc_lead_*`, `sfdc_account_*`,
    `sfdc_opportunity_*`, each typed as the org's describe says.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    user_id: str
    """The id of one record of the person: the earliest live contact, else the earliest live lead, else the
    product id. A function of the stitched records alone."""
    identity: str | None
    """The join key to product users: e-mail, trimmed, lower case."""
    email: str | None
    """The e-mail as the CRM has it."""
    contact_id: RecordId | None
    lead_id: RecordId | None
    account_id: RecordId | None
    """The account of that contact; for a lead, the one it was converted to."""
    owner_id: RecordId | None
    first_seen: Stamp | None
    """The earliest CreatedDate of the person's records."""
    updated_at: Stamp | None
    """The latest SystemModstamp of the records the row is made of."""
    is_deleted: bool
    """True when no live record is left; the row keeps its last properties."""
