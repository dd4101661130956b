"""What people define in files under version control: audiences, personas, journeys, cohorts, health, funnels."""

from collections.abc import Iterable
from datetime import date
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, StringConstraints, model_validator

from schemas.base import Frozen

MOST_DAYS = 36_500
"""A hundred years: as far back as anything counts."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
"""Small letters, digits and underscores: it becomes a name in SQL."""
Condition = Annotated[str, StringConstraints(min_length=1, max_length=20_000, strip_whitespace=True)]
"""A condition of SQL in DuckDB's dialect over one row of `users`, `accounts` or Salesforce's users."""
Moment = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}(\.(first_at|last_at))?$")]
"""The name of a happening: when it was last (`trial`, `trial.last_at`) or first (`trial.first_at`)."""
Subject = Literal["user", "account", "salesforce_user"]
"""Of whom it tells: people (rows of `users`), accounts, or those who work in Salesforce (`salesforce.user`)."""


Need = Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)?( or \w+(\.\w+)?)*$")]
"""An object, or a field of it, by API names, that the org must have: `Case`, `Case.IsEscalated`; or one of several:
`Report or Dashboard`."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Events = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class Happening(Frozen):
    """Events of a kind, summed up for each subject: `<name>.times`, `.first_at`, `.last_at`, `.days_since`,
    `.days_since_first`."""

    event: Events
    """Names of events; one may stand without a list, and `*` for all of them."""
    days: int | None = Field(default=None, ge=1, le=MOST_DAYS)
    """Only those of the last so many days (of 24 hours); without, all."""
    where: Condition | None = None
    """Only those for which this holds: a condition over one row of `events`."""
    after: Moment | None = None
    """Only those not before that happening of the same file; none while that has not happened."""
    undone_by: Name | None = None
    """Only those later than the last time of that happening of the same file; all while that has not happened."""
    needs: Annotated[tuple[Need, ...], BeforeValidator(_listed)] = ()
    """What the org must have for that to be seen. Where it has not, nothing happens."""


def rests_on(happening: Happening) -> Iterable[str]:
    """Give the happenings from which on another one counts."""
    if happening.after is not None:
        yield happening.after.partition(".")[0]
    if happening.undone_by is not None:
        yield happening.undone_by


class Definition(Frozen):
    """What all of them have."""

    title: str
    """What it is, in a few words."""
    description: str = ""
    of: Subject = "user"
    events: dict[Name, Happening] = Field(default_factory=dict)
    """Names for events, to be used in conditions."""
    within: Name | None = None
    """The audience that it is about: who is not in that one is not in this; without, everybody. A funnel counts those
    who have left it too."""

    @model_validator(mode="after")
    def _rest_on_events_there_are(self) -> "Definition":
        rests = {name: [*rests_on(happening)] for name, happening in self.events.items()}
        for name, others in rests.items():
            for other in others:
                if other not in self.events:
                    raise ValueError(f"events.{name} counts from {other} on, and there is no events.{other}")
        try:
            TopologicalSorter(rests).prepare()
        except CycleError as error:
            raise ValueError(f"events count from each other on: {' -> '.join(reversed(error.args[1]))}") from None
        return self


class Audience(Definition):
    """A set of people or accounts."""

    where: Condition = "true"
    """Who is in it."""
    exclude: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Who is not in it all the same: names of other audiences, and lists (`lists/do-not-mail.csv`)."""


class Signal(Frozen):
    """Something that speaks for a persona."""

    name: str
    where: Condition
    weight: FiniteFloat = Field(default=1, gt=0)
    needs: Annotated[tuple[Need, ...], BeforeValidator(_listed)] = ()
    """What the org must have for it to be seen, beside what the events need that it speaks of. Where it has not, the
    signal holds for nobody, and keeps its weight: nobody is as surely of the persona as they might be elsewhere."""


class Finding(Frozen):
    """What a persona was made of: a number that was counted, or what people said."""

    kind: Literal["quantitative", "qualitative"]
    says: str
    source: str
    """Where it is from: a survey, interviews, a query."""
    at: date | None = None
    people: int | None = Field(default=None, ge=1)
    """How many were counted or asked."""


class Persona(Definition):
    """A kind of person. The confidence is the share that those signals have that hold, by weight."""

    signals: tuple[Signal, ...] = Field(min_length=1)
    at_least: float = Field(default=0.5, gt=0, le=1)
    """The confidence from which somebody is one of them."""
    reviewed: date | None = None
    """When people looked last whether it is still true."""
    segment: str = ""
    """The part of the market it belongs to; one may have several personas."""
    activities: tuple[str, ...] = ()
    """What they mostly do."""
    profile: dict[str, str | list[str]] = Field(default_factory=dict)
    """What is known beside: goals, pain points, ways to talk to them."""
    findings: tuple[Finding, ...] = ()
    """What it rests on."""

    @model_validator(mode="after")
    def _tell_signals_apart(self) -> "Persona":
        if len({signal.name for signal in self.signals}) < len(self.signals):
            raise ValueError("two of its signals have the same name")
        return self


class Stage(Frozen):
    """A place in a journey, and who is there."""

    name: str
    where: Condition = "true"


class Journey(Definition):
    """Where each of them stands: the first stage whose condition holds. One may come to any stage from any other."""

    stages: tuple[Stage, ...] = Field(min_length=1)


class Cohort(Definition):
    """Arms of an experiment or a rollout. Who has an arm keeps it; who has none gets one when the shares grow."""

    arms: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)
    """Arm -> its share of all; what is left of 1 has no arm yet."""

    @model_validator(mode="after")
    def _at_most_all(self) -> "Cohort":
        if sum(self.arms.values()) > 1 + 1e-9:
            raise ValueError("the shares of its arms add up to more than 1")
        return self


class Metric(Frozen):
    """A number for each account, and which is poor and which is good."""

    name: Name
    value: Condition
    """A number of SQL over one row of the account; without, how often the happening of the same name has happened."""
    rollup: Literal["sum", "avg", "max", "count"] | None = None
    """Over the live people of the account: `value` is then over one row of `users`, of `count` a condition."""
    low: FiniteFloat = 0
    """At this number, or worse, it gives 0 points."""
    high: FiniteFloat
    """At this number, or better, it gives 100; in between as much as it has come of the way. May be less than `low`."""
    weight: FiniteFloat = Field(default=1, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _named_after_a_happening(cls, told: Any) -> Any:
        if isinstance(told, dict) and isinstance(told.get("name"), str):
            return {"value": f"{told['name']}.times", **told}
        return told

    @model_validator(mode="after")
    def _differ(self) -> "Metric":
        if self.low == self.high:
            raise ValueError("low and high are the same: give the number that is poor, and the one that is good")
        return self


class Group(Frozen):
    """Metrics that belong together."""

    name: Name
    weight: FiniteFloat = Field(default=1, gt=0)
    metrics: tuple[Metric, ...] = Field(min_length=1)


_CLOSED = "name = 'Opportunity {0}' OR (object = 'Opportunity' AND field = 'StageName' AND new_value = 'Closed {0}')"


class Outcomes(Frozen):
    """What became of accounts, for `headrace health backtest`: conditions over one row of `events`, with `field`,
    `property`, `old_value` and `new_value` of one row of its `changes`."""

    won: Condition = _CLOSED.format("Won")
    """A renewal or an expansion."""
    lost: Condition = _CLOSED.format("Lost")
    churned: Condition = (
        "object = 'Account' AND field = 'Type' AND regexp_matches(lower(new_value), 'churn|former|lost')"
    )


class Health(Definition):
    """A score from 0 to 100 for each account."""

    of: Literal["account"] = "account"
    days: int = Field(default=30, ge=1, le=MOST_DAYS)
    """Events count that are of the last so many days (of 24 hours), unless they have `days` of their own."""
    groups: tuple[Group, ...] = Field(min_length=1)
    healthy: FiniteFloat = 70
    """The score from which an account is healthy."""
    at_risk: FiniteFloat = 40
    """The score below which it is at risk."""
    outcomes: Outcomes = Outcomes()

    @model_validator(mode="after")
    def _tell_metrics_apart(self) -> "Health":
        names = [f"{group.name}.{metric.name}" for group in self.groups for metric in group.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there twice: metrics of a group need names of their own")
        if self.at_risk > self.healthy:
            raise ValueError("at_risk is more than healthy: an account would be both")
        return self


class Step(Frozen):
    """What somebody does on the way through a funnel."""

    name: str
    event: Events
    """Names of events; one may stand without a list."""
    where: Condition | None = None
    """Only those for which this holds: a condition over one row of `events`."""


class Funnel(Definition):
    """How many come how far on a way of steps. It makes nobody a member: `headrace funnel` works it out when asked."""

    of: Literal["user", "account"] = "user"
    from_joining: bool = True
    """Whether steps count only from the time on at which somebody first came into that audience."""
    days: int | None = Field(default=None, ge=1, le=MOST_DAYS)
    """At most so many days (of 24 hours) between the first step and the last; without, any time."""
    steps: tuple[Step, ...] = Field(min_length=1, max_length=20)
    """In the order in which they are to happen."""


KINDS: dict[str, type[Definition]] = {
    "audience": Audience,
    "persona": Persona,
    "journey": Journey,
    "cohort": Cohort,
    "health": Health,
    "funnel": Funnel,
}
"""Kind of definition -> its model. A file of the kind lies in the folder of that name."""
