"""Coverage: what answers tell of, and that asking on as it says leaves nobody out."""

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.coverage import Coverage

TARGET = hashlib.sha256(b"target").digest()
_NUMBER = int.from_bytes(TARGET, "big")
_ALL = 1 << (8 * params.KEY_SIZE)
_ROOM = 8  # contacts in one answer


def _contacts(seed: int, count: int) -> list[Contact]:
    source = random.Random(seed)
    contacts = [Contact(source.randbytes(params.KEY_SIZE), "192.0.2.1", 1 + number) for number in range(count)]
    return sorted(contacts, key=lambda contact: distance(contact.node_id, TARGET))


def _answer(contacts: list[Contact], start: int) -> list[Contact]:
    sought = (_NUMBER ^ start).to_bytes(params.KEY_SIZE, "big")
    return sorted(contacts, key=lambda contact: distance(contact.node_id, sought))[:_ROOM]


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 80), wanted=st.integers(1, 24), lying=st.booleans())
def test_when_nothing_is_left_to_ask_everybody_within_the_limit_has_been_named(
    seed: int, count: int, wanted: int, lying: bool
) -> None:
    """Whoever knows the network answers truly, up to one in each question: all of the `wanted` closest are named."""
    contacts = _contacts(seed, count)
    live = contacts[::2]
    limit = distance(contacts[wanted - 1].node_id, TARGET) if wanted <= count else _ALL
    coverage = Coverage(_NUMBER)
    named = set(_answer(contacts, 0))
    for teller in live:
        coverage.note(0, teller, _answer(contacts, 0))
    questions = 0
    while (question := coverage.next_question(live, limit)) is not None:
        start, asked = question
        questions += 1
        answer = _answer(contacts, start)
        for number, teller in enumerate(asked):
            coverage.note(start, teller, answer[:1] if lying and not number and len(asked) == params.ALPHA else answer)
        named.update(answer)
    assert questions <= 8
    if questions < 8:
        assert {contact for contact in contacts if distance(contact.node_id, TARGET) < limit} <= named


def test_enough_room_needs_no_question() -> None:
    """Where the answers for the target reach as far as is wanted, nothing more is asked."""
    contacts = _contacts(1, 40)
    coverage = Coverage(_NUMBER)
    for teller in contacts[:_ROOM]:
        coverage.note(0, teller, _answer(contacts, 0))
    assert coverage.next_question(contacts[:_ROOM], distance(contacts[_ROOM - 1].node_id, TARGET)) is None


def test_far_contacts_answers_count_for_nothing() -> None:
    """Who is far away names contacts far apart; that does not show that there is nobody between them."""
    contacts = _contacts(2, 400)
    coverage = Coverage(_NUMBER)
    for teller in contacts[: params.ALPHA]:
        coverage.note(0, teller, _answer(contacts, 0))
    for teller in contacts[-100:]:
        coverage.note(0, teller, contacts[::50])
    live = [*contacts[: params.ALPHA], *contacts[-100:]]
    question = coverage.next_question(live, distance(contacts[20].node_id, TARGET))
    assert question is not None
    start, asked = question
    end = distance(contacts[_ROOM - 1].node_id, TARGET)
    assert start.bit_length() == end.bit_length(), "it goes on where the answers of those near the target end"
    assert asked


def test_nobody_answers_and_the_questions_end() -> None:
    """A start whose nearest stay silent is given up, and so is everything after a few."""
    contacts = _contacts(3, 40)
    coverage = Coverage(_NUMBER)
    for teller in contacts:
        coverage.note(0, teller, _answer(contacts, 0))
    asked = 0
    while (question := coverage.next_question(contacts, _ALL)) is not None:
        asked += len(question[1])
    assert asked <= 8 * params.ALPHA


def test_contacts_heard_of_later_are_asked_as_well() -> None:
    """Where nearer ones than those asked turn up alive, they are asked for the same ID before it counts as told of."""
    contacts = _contacts(4, 40)
    coverage = Coverage(_NUMBER)
    for teller in contacts:
        coverage.note(0, teller, _answer(contacts, 0))
    limit = distance(contacts[12].node_id, TARGET)
    first = coverage.next_question(contacts[: params.ALPHA], limit)
    assert first is not None
    again = coverage.next_question(contacts, limit)
    assert again is not None
    assert again[0] == first[0]
    assert not set(again[1]) & set(first[1])
