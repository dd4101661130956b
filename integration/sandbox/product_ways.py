"""How people come to the product of the invented company: campaigns, search, other pages, or by themselves."""

import random
from dataclasses import dataclass
from typing import Any, Final

SITE: Final = "https://lanternfish.example.com"
_SEARCH: Final = ("https://www.google.com/", "https://duckduckgo.com/")


@dataclass(frozen=True, slots=True)
class Way:
    """A campaign (its utm parameters as `context.campaign` names them), where it is clicked, and the page it leads to.

    Without a campaign: a search engine, or nothing where people come by themselves.
    """

    page: str
    referrer: str = ""
    name: str | None = None
    source: str | None = None
    medium: str | None = None
    term: str | None = None

    def context(self) -> dict[str, Any]:
        """Return what a browser that comes this way tells around its calls."""
        utm = {"name": self.name, "source": self.source, "medium": self.medium, "term": self.term}
        campaign = {key: value for key, value in utm.items() if value is not None}
        query = "&".join(f"utm_{'campaign' if key == 'name' else key}={value}" for key, value in campaign.items())
        page = {
            "url": f"{SITE}{self.page}" + (f"?{query}" if query else ""),
            "path": self.page,
            "referrer": self.referrer,
        }
        return {"page": page, **({"campaign": campaign} if campaign else {})}


# The names and pages are those of the campaigns in the CRM, as far as there are such.
WEBINAR: Final = Way("/product-analytics-webinar", "", "product-analytics-webinar", "invitation", "email")
PLAYBOOK: Final = Way("/persona-playbook", "", "persona-playbook", "newsletter", "email")
LAUNCH: Final = Way("/spring-launch", "https://social.example.org/", "spring-launch", "social.example.org", "social")
PRICING: Final = Way("/pricing-guide", _SEARCH[0], "pricing-guide", "google", "cpc", "product-analytics-pricing")
CHEAP_AD: Final = Way("/free-dashboards", "https://ads.example.org/", "free-dashboards", "ads.example.org", "display")
ROADSHOW: Final = Way("/partner-roadshow", "https://partner.example.org/", "partner-roadshow", "partner", "partner")
FOUND: Final = Way("/guides/sql-for-personas", _SEARCH[0])
FOUND_TOO: Final = Way("/", _SEARCH[1])
DIRECT: Final = Way("/")

OF_THE_BIGGEST: Final = (WEBINAR, WEBINAR, PRICING, ROADSHOW)
"""How the accounts that have bought most came, the biggest first: dear campaigns that bring few."""
_WAYS: Final = (WEBINAR, PLAYBOOK, LAUNCH, PRICING, CHEAP_AD, ROADSHOW, FOUND, FOUND_TOO, DIRECT)
_WEIGHTS: Final = {
    "Paying Customer": (4, 12, 14, 16, 18, 8, 10, 4, 10),
    "Churned Customer": (1, 8, 14, 10, 38, 3, 10, 4, 10),
    "Prospect": (3, 9, 15, 12, 26, 5, 12, 5, 12),
    "Partner": (2, 6, 8, 4, 6, 50, 8, 4, 12),
    "Lead": (3, 10, 15, 10, 30, 3, 12, 5, 12),
    "Nobody": (1, 6, 14, 8, 42, 1, 12, 6, 10),
}


def way_for(rng: random.Random, worth: str) -> Way:
    """Return a way by which such an account, a lead or nobody in particular comes."""
    return rng.choices(_WAYS, _WEIGHTS.get(worth, _WEIGHTS["Nobody"]))[0]
