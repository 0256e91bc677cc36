"""Passwords kept out of whatever is written or printed.

This module alone knows what a secret looks like. `Log`, provenance and the command line's own errors send their
text through `redact`; nothing else has to think of it. A secret is the password of a URL, wherever that stands, the
value of a key such as ``password=`` or ``sslpassword=``, and every password that was met in this process
(`remember`), under which libraries may mention it later in another spelling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

#: Variables of the environment that hold secrets no worker needs: a worker never opens the database.
ENVIRONMENT = ("NAS_STORAGE", "PGPASSWORD", "MYSQL_PWD")

_KEY = r"[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|api_?key|access_?key)[a-z0-9_]*"
#: ``scheme://user:`` and all up to the last ``@`` of the word; a password may hold ``/``, ``:`` and ``@`` itself.
_IN_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:@/?#'\"]*:)([^\s'\"]*)(?=@)", re.IGNORECASE)
#: The same where the password holds blanks, as SQLAlchemy leaves them; it encodes all that ends a password.
_WITH_BLANKS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:@/?#'\"]*:)([^@/\n]*)(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(rf"([?&;]{_KEY}=)([^\s&#;'\"]+)", re.IGNORECASE)
#: ``password=...`` of a connection string, whose value may be quoted.
_IN_KEYWORDS = re.compile(
    r"((?<![?&;])\b(?:ssl)?passw(?:or)?d\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&'\"]+)", re.IGNORECASE
)
_SECRET_KEY = re.compile(_KEY, re.IGNORECASE)
#: Shorter ones are words of other texts too, and are hidden where a URL or a key shows what they are.
_SHORTEST_WORD = 5

_known: set[str] = set()


def is_secret_key(key: str) -> bool:
    """Return whether a key of a URL's query names a secret."""
    return _SECRET_KEY.fullmatch(key) is not None


def remember(secret: str) -> None:
    """Hide a secret from now on wherever it stands by itself, also decoded or encoded as in a URL."""
    spellings = {
        secret,
        unquote(secret),
        quote(secret, safe=""),
        quote(secret, safe=" +"),
        quote_plus(secret),
    }
    _known.update(each for each in spellings if len(each) >= _SHORTEST_WORD)


def redact(text: str) -> str:
    """Return a text without the secrets in it."""
    text = _IN_USERINFO.sub(rf"\g<1>{HIDDEN}", text)
    text = _WITH_BLANKS.sub(rf"\g<1>{HIDDEN}", text)
    text = _IN_QUERY.sub(rf"\g<1>{HIDDEN}", text)
    text = _IN_KEYWORDS.sub(rf"\g<1>{HIDDEN}", text)
    for secret in sorted(_known, key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", HIDDEN, text)
    return text


def redact_command(command: Sequence[str]) -> list[str]:
    """Return a command line without secrets; a password may hold blanks, as an argument may."""
    return [redact(re.sub(r"(://[^:@/?#]*:).*(?=@)", rf"\g<1>{HIDDEN}", each)) for each in command]
