"""What the org refuses, with Salesforce's own error codes."""


class OrgError(Exception):
    """A refusal: `code` is Salesforce's errorCode, `message` its text, `fields` the fields to blame."""

    def __init__(self, code: str, message: str, fields: tuple[str, ...] = (), *, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = fields
        self.status = status


def not_found() -> OrgError:
    """No such record, object or page, or no access to it."""
    return OrgError("NOT_FOUND", "The requested resource does not exist", status=404)


def invalid_type(name: str) -> OrgError:
    """An object that the org does not have."""
    return OrgError("INVALID_TYPE", f"sObject type '{name}' is not supported.")


def no_such_column(name: str, entity: str) -> OrgError:
    """A field that the object does not have, or that the user may not see."""
    return OrgError("INVALID_FIELD", no_such_column_text(name, entity), (name,))


def no_such_column_text(name: str, entity: str) -> str:
    """Salesforce's sentence about a column it does not know."""
    return (
        f"No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure "
        "to append the '__c' after the custom field name. Please reference your WSDL or the describe call "
        "for the appropriate names."
    )
