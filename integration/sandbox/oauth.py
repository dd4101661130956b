"""Logins: client credentials, JWT bearer, password, and the old SOAP call; and the tokens they give."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import jwt

from integration.sandbox.answers import Answer

if TYPE_CHECKING:
    from integration.sandbox.org import Org

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_XML = "text/xml;charset=UTF-8"


class Tokens:
    """Access tokens and when they end, by the org's clock."""

    def __init__(self, org: "Org", seconds: float) -> None:
        self._org = org
        self._life = timedelta(seconds=seconds)
        self._ends: dict[str, datetime] = {}

    def issue(self) -> str:
        """Give out a new token: the org's 15-character id, an exclamation mark, a secret."""
        token = f"{self._org.org_id[:15]}!{secrets.token_urlsafe(72)}"
        self._ends[token] = self._org.clock.now() + self._life
        return token

    def valid(self, token: str) -> bool:
        """Tell whether a token is known and still good."""
        ends = self._ends.get(token)
        return ends is not None and self._org.clock.now() < ends

    def revoke(self, token: str | None = None) -> None:
        """End one token, or all of them."""
        if token is None:
            self._ends.clear()
        else:
            self._ends.pop(token, None)


class Login:
    """The token endpoint of one connected app (plus, for JWT bearer, any other with a public key)."""

    def __init__(
        self, org: "Org", tokens: Tokens, *, key: str, secret: str, password: str, public_keys: Mapping[str, bytes]
    ) -> None:
        self._org = org
        self._tokens = tokens
        self._key = key
        self._secret = secret
        self._password = password
        self._public_keys = public_keys

    def token(self, form: Mapping[str, str], authorization: str, url: str) -> Answer:
        """Answer POST /services/oauth2/token. `url` becomes the instance_url."""
        grant = form.get("grant_type", "")
        if grant == JWT_GRANT:
            return self._by_assertion(form.get("assertion", ""), url)
        key, secret = _client(form, authorization)
        if not _same(key, self._key) or not _same(secret, self._secret):
            return _oauth_error("invalid_client", "invalid client credentials", 401)
        if grant == "client_credentials":
            return self._granted(url, self._org.default_user)
        if grant == "password":
            user = self._user(form.get("username", ""))
            if user is None or not form.get("password", "").startswith(self._password):
                return _oauth_error("invalid_grant", "authentication failure")
            return self._granted(url, user)
        return _oauth_error("unsupported_grant_type", "grant type not supported")

    def soap(self, body: str, url: str, version: str) -> Answer:
        """Answer the SOAP login call, which Salesforce retires: not available from version 65.0 on."""
        if float(version) >= 65:
            return _soap_fault("UNSUPPORTED_API_VERSION", f"SOAP login is not available in API version {version}")
        user = self._user(unescape(_tag(body, "username")))
        if user is None or not unescape(_tag(body, "password")).startswith(self._password):
            message = "Invalid username, password, security token; or user locked out."
            return _soap_fault("INVALID_LOGIN", message)
        server = f"{url}/services/Soap/u/{version}/{self._org.org_id[:15]}"
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
            'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com">'
            "<soapenv:Body><loginResponse><result><passwordExpired>false</passwordExpired><sandbox>true</sandbox>"
            f"<serverUrl>{server}</serverUrl><sessionId>{self._tokens.issue()}</sessionId><userId>{user}</userId>"
            "</result></loginResponse></soapenv:Body></soapenv:Envelope>"
        )
        return Answer(200, text.encode(), content_type=_XML)

    def _by_assertion(self, assertion: str, url: str) -> Answer:
        try:
            issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss", "")
            if issuer not in self._public_keys:
                return _oauth_error("invalid_client_id", "client identifier invalid")
            claims = jwt.decode(
                assertion,
                self._public_keys[issuer],
                algorithms=["RS256"],
                # Salesforce takes an exp that is a string, which some clients send.
                options={"verify_exp": False, "verify_aud": False, "verify_sub": False},
            )
            # The client's own clock made this time, so it is held against real time, not the org's.
            expired = int(claims.get("exp", 0)) < time.time()
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return _oauth_error("invalid_grant", "invalid assertion")
        if expired:
            return _oauth_error("invalid_grant", "expired assertion")
        if not str(claims.get("aud", "")).startswith(("https://", url)):
            return _oauth_error("invalid_grant", "audience is invalid")
        user = self._user(str(claims.get("sub", "")))
        if user is None:
            return _oauth_error("invalid_grant", "user hasn't approved this consumer")
        return self._granted(url, user)

    def _user(self, username: str) -> str | None:
        table = self._org.table("User")
        name, active = table.at["Username"], table.at["IsActive"]
        rows = (row for row in table.rows.values() if (row[name] or "").lower() == username.lower() and row[active])
        return next((str(row[0]) for row in rows), None)

    def _granted(self, url: str, user: str) -> Answer:
        identity = f"https://login.salesforce.com/id/{self._org.org_id}/{user}"
        issued = str(int(self._org.clock.now().timestamp() * 1000))
        digest = hmac.new(self._secret.encode(), (identity + issued).encode(), hashlib.sha256).digest()
        body = {
            "access_token": self._tokens.issue(),
            "signature": base64.b64encode(digest).decode(),
            "scope": "api",
            "instance_url": url,
            "id": identity,
            "token_type": "Bearer",
            "issued_at": issued,
        }
        return Answer(200, body)


def bearer(authorization: str) -> str | None:
    """Return the token of an Authorization header, or None if it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme in ("Bearer", "OAuth") and token else None


def _client(form: Mapping[str, str], authorization: str) -> tuple[str, str]:
    if authorization.startswith("Basic "):
        try:
            key, _, secret = base64.b64decode(authorization[6:], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return key, secret
    return form.get("client_id", ""), form.get("client_secret", "")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _oauth_error(error: str, description: str, status: int = 400) -> Answer:
    body: dict[str, Any] = {"error": error, "error_description": description}
    return Answer(status, body)


def _soap_fault(code: str, message: str) -> Answer:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com">'
        f"<soapenv:Body><soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring>"
        f"<detail><sf:LoginFault><sf:exceptionCode>{code}</sf:exceptionCode>"
        f"<sf:exceptionMessage>{message}</sf:exceptionMessage></sf:LoginFault></detail>"
        "</soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )
    return Answer(500, text.encode(), content_type=_XML)


def _tag(xml: str, name: str) -> str:
    found = re.search(rf"<(?:\w+:)?{name}>(.*?)</(?:\w+:)?{name}>", xml, re.DOTALL)
    return found.group(1) if found else ""
