from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from integration.core.identity import Record, identities, shared_mailboxes, stitch

EMAILS = [None, "ana@example.com", "bo@example.com", "shared@example.com"]


def contact(number: int, **more: object) -> Record:
    return record("Contact", number, **more)


def lead(number: int, **more: object) -> Record:
    return record("Lead", number, **more)


def record(kind: str, number: int, **more: object) -> Record:
    prefix = "003" if kind == "Contact" else "00Q"
    base = {
        "record_id": f"{prefix}{number:015d}",
        "object": kind,
        "created": f"2025-01-{number % 28 + 1:02d}T00:00:00Z",
        "version": "2026-01-01T00:00:00Z",
        "email": None,
        "is_deleted": False,
        "is_converted": False,
        "follows": None,
    }
    return Record(**{**base, **more})  # type: ignore[arg-type]


def people_of(records: Sequence[Record], max_cluster: int = 25) -> dict[str, set[str]]:
    people = stitch({r.record_id: r for r in records}, match_email=True, max_cluster=max_cluster)
    return {p.user_id: {m.record_id for m in p.members} for p in people}


def test_a_contact_and_a_lead_with_one_email_are_one_person_named_after_the_contact() -> None:
    c, q = contact(5, email="ana@example.com"), lead(1, email="ana@example.com")

    assert people_of([q, c]) == {c.record_id: {c.record_id, q.record_id}}


def test_a_converted_lead_is_its_contact_even_with_another_email() -> None:
    c = contact(5, email="ana@example.com")
    q = lead(1, email="old@example.com", is_converted=True, follows=c.record_id)

    assert people_of([c, q]) == {c.record_id: {c.record_id, q.record_id}}


def test_a_converted_lead_ends_with_its_contact() -> None:
    c = contact(5, is_deleted=True)
    q = lead(1, is_converted=True, follows=c.record_id)

    [person] = stitch({r.record_id: r for r in (c, q)}, match_email=True, max_cluster=25)

    assert person.is_deleted
    assert (person.user_id, person.contact, person.lead) == (c.record_id, c, q)


def test_a_merged_loser_is_its_winner_and_a_deleted_namesake_is_not() -> None:
    winner = contact(9, email="ana@example.com")
    loser = contact(1, email="ana@example.com", is_deleted=True, follows=winner.record_id)
    namesake = contact(2, email="ana@example.com", is_deleted=True)

    assert people_of([winner, loser, namesake]) == {
        winner.record_id: {winner.record_id, loser.record_id},
        namesake.record_id: {namesake.record_id},
    }


def test_a_shared_mailbox_joins_nobody_and_is_nobodys_alias() -> None:
    records = [contact(n, email="shared@example.com") for n in range(4)]
    everyone = {r.record_id: r for r in records}
    people = stitch(everyone, match_email=True, max_cluster=3)

    rows = identities(people, shared_mailboxes(records, 3))

    assert len(people) == 4
    assert {r["kind"] for r in rows} == {"contact_id"}


def test_records_that_follow_each_other_in_a_circle_are_one_person() -> None:
    a, b = contact(1), contact(2)
    a = a._replace(is_deleted=True, follows=b.record_id)
    b = b._replace(is_deleted=True, follows=a.record_id)

    assert list(people_of([a, b]).values()) == [{a.record_id, b.record_id}]


@st.composite
def orgs(draw: st.DrawFn) -> list[Record]:
    """Contacts and leads with shared e-mails, conversions, merges and deletes, chained at random."""
    count = draw(st.integers(1, 9))
    records: list[Record] = []
    for number in range(count):
        kind = draw(st.sampled_from(["Contact", "Lead"]))
        deleted = draw(st.booleans())
        converted = kind == "Lead" and draw(st.booleans())
        targets = [r.record_id for r in records if r.object == ("Contact" if converted else kind)]
        follows = draw(st.sampled_from([None, *targets])) if (deleted or converted) else None
        records.append(
            record(kind, number, email=draw(st.sampled_from(EMAILS)), is_deleted=deleted, is_converted=converted, follows=follows)
        )  # fmt: skip
    return records


@given(orgs(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_people_do_not_depend_on_the_order_in_which_records_came(records: list[Record], rng: object, top: int) -> None:
    shuffled = list(records)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]

    def table(order: list[Record]) -> tuple[object, object]:
        people = stitch({r.record_id: r for r in order}, match_email=True, max_cluster=top)
        rows = identities(people, shared_mailboxes(order, top))
        return sorted(people, key=lambda p: p.user_id), sorted(rows, key=lambda r: r["alias"])

    assert table(records) == table(shuffled)


@given(orgs())
def test_every_record_belongs_to_exactly_one_person_and_every_alias_stands_once(records: list[Record]) -> None:
    people = stitch({r.record_id: r for r in records}, match_email=True, max_cluster=25)
    rows = identities(people, set())

    members = [m.record_id for p in people for m in p.members]
    assert sorted(members) == sorted(r.record_id for r in records)
    assert len({r["alias"] for r in rows}) == len(rows)
    assert {r.email for r in records if r.email} <= {r["alias"] for r in rows}
    assert all(p.is_deleted == (not any(m.is_live for m in p.members)) for p in people)
    assert {p.user_id for p in people} <= set(members)
