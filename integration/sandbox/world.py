"""A believable company's CRM, invented from a seed, with two years of history behind it."""

from dataclasses import dataclass, field
from datetime import datetime

from integration.sandbox import world_activity, world_deals, world_people
from integration.sandbox.org import Org
from integration.sandbox.story import Story

_ORDER = (
    "User",
    "Account",
    "cbit__Clearbit__c",
    "Contact",
    "Campaign",
    "Opportunity",
    "OpportunityContactRole",
    "Lead",
    "CampaignMember",
    "Task",
    "Event",
    "AccountHistory",
    "ContactHistory",
    "LeadHistory",
    "OpportunityFieldHistory",
    "OpportunityHistory",
)


@dataclass(frozen=True)
class World:
    """What was put into an org.

    counts   object -> records, deleted ones included
    reps     the ids of the users who sell; ``manager`` is the id of theirs
    """

    seed: int
    ends_at: datetime
    manager: str
    reps: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)


def build_world(
    org: Org,
    *,
    accounts: int = 60,
    contacts: int | None = None,
    opportunities: int | None = None,
    leads: int | None = None,
    seed: int = 7,
    ends_at: datetime,
) -> World:
    """Fill an org with the CRM of an invented B2B software company, as of ``ends_at`` (an aware datetime).

    Counts that are not given follow from ``accounts``: four contacts, two opportunities and one lead to each.
    Besides come the sales team, enrichment rows, contact roles, campaigns and members, tasks, events, field
    history, and a few deleted records (merged contacts, a dropped opportunity) on top of the counts.
    Stamps are whole seconds; only a handful lie in the last hour. The same seed, counts, time and fresh org
    give the same records, in every process. Raises ValueError for a negative count or a naive time.
    """
    wanted = {
        "accounts": accounts,
        "contacts": accounts * 4 if contacts is None else contacts,
        "opportunities": accounts * 2 if opportunities is None else opportunities,
        "leads": accounts if leads is None else leads,
    }
    for name, count in wanted.items():
        if count < 0:
            raise ValueError(f"{name} is {count}; give 0 or more.")
    story = Story(seed, ends_at, org.new_id)
    story.robot = org.default_user
    world_people.hire(story, accounts)
    world_people.found_accounts(story, accounts)
    world_people.staff_accounts(story, wanted["contacts"])
    world_deals.sell(story, wanted["opportunities"])
    world_people.merge_some(story)
    world_deals.invite(story)
    world_deals.attract(story, wanted["leads"])
    world_activity.campaign(story, accounts)
    world_activity.keep_busy(story)
    world_activity.remember(story)
    for name in _ORDER:
        for row in story.rows.get(name, ()):
            org.load(name, row)
    counts = {name: len(story.rows[name]) for name in _ORDER if name in story.rows}
    return World(seed, story.ends_at, story.manager, tuple(story.reps), counts)
