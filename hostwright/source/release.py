"""The Release file of an archive, once its signature is verified: whether it is the one that is wanted, and current.

A signature only says that Debian made the file, for some suite and at some time. Fields: the archive's repository
format (Suite, Codename, Date, Valid-Until).
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from hostwright.base.errors import UserError
from hostwright.formats.control import Stanza, parse_stanzas
from hostwright.source.index import SUITE

# What the suite of this code name is called in the course of its life.
SUITES = ("testing", "stable", "oldstable", "oldoldstable", SUITE)
# How far this machine's clock may be behind.
SKEW = timedelta(days=1)
HINT = "name another archive in HOSTWRIGHT_MIRROR: this one is out of date, or serves another suite"


def check(release: str, now: datetime, since: str = "") -> str:
    """The date of a Release text, as it is written there; UserError if it must not be used.

    It is of the suite and code name in use, neither from the future nor expired, and not older than `since`.
    """
    fields = read(release)
    found = fields.get("Codename", ""), fields.get("Suite", "")
    if found[0] != SUITE or found[1] not in SUITES:
        raise _refused(
            f"it is of {found[0] or 'no code name'} (suite {found[1] or 'not named'}), not of {SUITE}"
        )
    date = read_date(fields, "Date")
    if date > now + SKEW:
        raise _refused(f"its date, {fields['Date']}, is in the future", "set this machine's clock")
    if "Valid-Until" in fields and read_date(fields, "Valid-Until") < now:
        raise _refused(f"it expired on {fields['Valid-Until']}")
    if since and date < parse_date(since, "the lock's date"):
        raise _refused(f"its date, {fields['Date']}, is older than that of the lock, {since}")
    return fields["Date"]


def read(release: str) -> Stanza:
    """The fields of a Release text."""
    return next(parse_stanzas(release), {})


def read_date(fields: Stanza, name: str) -> datetime:
    """A date of a Release file; UserError if it has none."""
    return parse_date(fields.get(name, ""), f"{name} of the archive's InRelease")


def parse_date(text: str, what: str) -> datetime:
    """A date in the form of RFC 5322; UserError that says `what` cannot be read."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        raise UserError(f"{what} cannot be read: {text!r}", HINT) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _refused(why: str, hint: str = HINT) -> UserError:
    return UserError(f"the archive's InRelease is signed, but {why}", hint)
