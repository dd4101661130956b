"""Blots secrets and e-mail addresses out of text that is meant for logs and errors."""

import re
from collections.abc import Iterable

MASK = "********"

_EMAIL = re.compile(r"[A-Za-z0-9._%+'-]+@(?=[A-Za-z0-9-]+\.[A-Za-z])")
_IN_URL = re.compile(r"(?<=//)[^/@\s]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=!-]{8,}")
# A Salesforce session id: the org's id, an exclamation mark, and the secret.
_SESSION = re.compile(r"\b00D[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?![A-Za-z0-9._]+")
_SHORTEST_SECRET = 4


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the given secrets, credentials in addresses, tokens, and the names in e-mails.

    The domain of an e-mail address stays: it tells a stranger little, and whoever looks for a fault a lot.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        # A shorter one would blot out half of every text, and is no secret.
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    text = _IN_URL.sub(f"{MASK}@", text)
    text = _SESSION.sub(MASK, _BEARER.sub(rf"\1 {MASK}", text))
    return _EMAIL.sub("***@", text)
