"""What the address of a store says."""

from urllib.parse import unquote, urlsplit


def database_of(url: str) -> str:
    """Return the database that the address of a ClickHouse names: where the tables for people are."""
    return unquote(urlsplit(url).path.strip("/")) or "default"
