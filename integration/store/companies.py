"""By what a lead and an account may be seen to be one company's, as SQL: domains, and names without their trimmings."""

from collections.abc import Iterable
from typing import Final

from integration.store.quoting import literal

FREE_MAIL: Final = (
    "126.com", "163.com", "aol.com", "fastmail.com", "free.fr", "gmail.com", "gmx.at", "gmx.ch", "gmx.com", "gmx.de",
    "gmx.net", "googlemail.com", "hey.com", "hotmail.co.uk", "hotmail.com", "hotmail.de", "hotmail.fr", "icloud.com",
    "laposte.net", "libero.it", "live.com", "mac.com", "mail.com", "mail.ru", "me.com", "msn.com", "naver.com",
    "orange.fr", "outlook.com", "outlook.de", "outlook.fr", "pm.me", "proton.me", "protonmail.com", "qq.com",
    "rediffmail.com", "rocketmail.com", "seznam.cz", "t-online.de", "tutanota.com", "wanadoo.fr", "web.de", "wp.pl",
    "yahoo.co.in", "yahoo.co.jp", "yahoo.co.uk", "yahoo.com", "yahoo.de", "yahoo.fr", "yandex.com", "yandex.ru",
    "ymail.com", "zoho.com",
)  # fmt: skip
"""Where anybody may have an address: it says nothing of a company."""
_FORMS: Final = (
    "ab", "ag", "as", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "kg", "limited",
    "llc", "llp", "ltd", "nv", "oy", "plc", "pty", "sa", "sarl", "sas", "se", "spa", "srl",
)  # fmt: skip
_MARKS: Final = " .,-_'\"&+/()[]"
_NOBODY: Final = (
    "", "individual", "na", "none", "notprovided", "personal", "private", "self", "selfemployed", "student", "test",
    "unknown",
)  # fmt: skip
"""What stands where a company should, once its marks are gone."""


def mail_domain(column: str, free: Iterable[str]) -> str:
    """Return the domain of an e-mail; null for one of `free`, and where there is none."""
    domain = f"lower(split_part(trim({column}), '@', 2))"
    nobodies = ", ".join(literal(one.lower()) for one in ("", *free))
    return f"CASE WHEN {domain} NOT IN ({nobodies}) THEN {domain} END"


def site_domain(column: str) -> str:
    """Return the domain of a website, without `www.`; null where there is none."""
    bare = f"regexp_replace(lower(trim({column})), '^(https?://)?(www[.])?', '')"
    return f"nullif(regexp_replace({bare}, '[/:?#].*$', ''), '')"


def company_name(column: str) -> str:
    """Return the name of a company in small letters, without its legal form and marks; null for what names none."""
    name = f"regexp_replace(lower(trim({column})), '([ ,.&]+({'|'.join(_FORMS)})[.]?)+$', '')"
    for mark in _MARKS:
        name = f"replace({name}, {literal(mark)}, '')"
    return f"CASE WHEN {name} NOT IN ({', '.join(map(literal, _NOBODY))}) THEN {name} END"
