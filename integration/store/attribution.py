"""The rules of attribution that an org may want otherwise: the settings of the section `attribution`, as plain values.

They reach the SQL of marts and views by markers (see integration.store.markers), so a mart is made anew as soon as one
of them is another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from integration.store.companies import FREE_MAIL

SIGN_UP: Final = "sign-up"
CAMPAIGN: Final = "campaign"
SALES: Final = "sales"
OWN_KINDS: Final = (SIGN_UP, CAMPAIGN, SALES)
"""Kinds of touchpoints that have a rule of their own: no event can be given one of them."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """What attribution counts, and for how long."""

    outbound_words: Sequence[str] = ("SDR", "AE", "Outbound")
    """A lead source is outbound when one of these is a word of it, in whatever letters: `SDR Created`."""
    inbound_words: Sequence[str] = (
        "Inbound", "Contact", "Demo", "Trial", "Sign-up", "Signup", "Sign up", "Set-up", "Setup", "Install", "Web",
        "Website", "HubSpot",
    )  # fmt: skip
    """A lead source that is not outbound is inbound when one of these is a word of it."""
    outbound_days: int = 60
    """For how long before a lead somebody whom sales brought in counts."""
    influence_days: int = 30
    """For how long before an opportunity a campaign counts."""
    half_life_days: int = 7
    """After how long a touch gets half of the credit."""
    sign_up_events: Sequence[str] = ("Sign Up", "Signed Up", "User Signed Up")
    """Product events that are sign-ups."""
    touchpoints: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {
            "install": ("Instance Installed", "Server Installed", "Site Initialized"),
            "form": ("Form Submitted", "Demo Requested", "Trial Requested", "Contact Form Submitted"),
        }
    )
    """Other kinds of touchpoints, and the product events of each."""
    sales_types: Sequence[str] = ("Call", "Meeting")
    """Types of tasks that are a talk with sales, once they are completed."""

    guess_accounts: bool = True
    """Whether accounts of leads are guessed."""
    free_mail_domains: Sequence[str] = FREE_MAIL
    """Domains of e-mails that say nothing of a company."""

    def days(self, name: str) -> int:
        """Return one of the numbers of days."""
        return int(getattr(self, name))

    @property
    def events(self) -> Mapping[str, Sequence[str]]:
        """Kind of touchpoint -> the product events of it; of a name that stands in several the first kind counts."""
        return {SIGN_UP: self.sign_up_events, **self.touchpoints}
