"""The one place where names and texts are put into SQL."""


def identifier(name: str) -> str:
    """Quote the name of a column or of a table without a schema."""
    return '"' + name.replace('"', '""') + '"'


def table_name(name: str) -> str:
    """Quote the name of a table or view; a schema may stand before the first dot (`salesforce.contact`)."""
    schema, dot, table = name.partition(".")
    return f"{identifier(schema)}.{identifier(table)}" if dot else identifier(name)


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"
