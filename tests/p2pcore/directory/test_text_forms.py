"""Text forms: what a person pastes is either exactly what was written, or Malformed with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.directory.text_forms import LINE, Pasted, from_text, to_text
from p2pcore.errors import Malformed
from p2pcore.records import ContactInfo, Invitation, JoinAnswer, JoinRequest

INVITATION = Invitation(
    domain="example.org",
    role="node",
    name="n1",
    authority=bytes(range(200)),
    contacts=(ContactInfo(bytes(32), "192.0.2.1", 7000),),
    record=b"record" * 50,
    code=bytes(16),
    expires=1,
)
REQUEST = JoinRequest("example.org", "node", "n1", "192.0.2.1", 7000, bytes(32), b"", bytes(32), bytes(64))
ANSWER = JoinAnswer(b"certificate", b"record", b"directory")

octets = st.binary(max_size=300)
answers = st.builds(JoinAnswer, octets, octets)


@pytest.mark.parametrize("record", [INVITATION, REQUEST, ANSWER], ids=lambda record: type(record).__name__)
def test_every_kind_survives_its_text_form(record: Pasted) -> None:
    """Lines are short enough for any mail client and the title says what it is."""
    text = to_text(record)
    assert max(len(line) for line in text.splitlines()[1:-1]) == LINE or len(text.splitlines()) == 3
    assert from_text(type(record), text) == record


@given(answers, st.text(alphabet=" \t\r\n", max_size=5), st.text(max_size=30), st.text(max_size=30))
def test_text_around_and_blanks_within_do_not_matter(answer: JoinAnswer, blank: str, before: str, after: str) -> None:
    """Whatever is written around the two lines, and blanks in every line, the record read is the record written."""
    text = "".join(blank + line + blank + "\r\n" for line in to_text(answer).splitlines())
    assert from_text(JoinAnswer, before + text + after) == answer


@given(st.text(max_size=400))
def test_arbitrary_text_is_malformed(text: str) -> None:
    """Text that was not written by to_text raises Malformed, and nothing else."""
    with pytest.raises(Malformed):
        from_text(Invitation, text)


@given(st.text(max_size=200))
def test_arbitrary_text_between_the_lines_is_malformed(text: str) -> None:
    """Arbitrary content of the right frame raises Malformed, and nothing else."""
    with pytest.raises(Malformed):
        from_text(JoinRequest, f"-----BEGIN P2PMAIL JOIN REQUEST-----\n{text}\n-----END P2PMAIL JOIN REQUEST-----\n")


@given(st.data())
def test_one_changed_missing_or_doubled_character_is_noticed(data: st.DataObject) -> None:
    """No slip of one character in the lines gives another record."""
    lines = to_text(INVITATION).splitlines()
    body = "".join(lines[1:-1])
    place = data.draw(st.integers(0, len(body) - 1))
    change = data.draw(st.sampled_from(["", body[place] * 2, "A", "-", "~", "é"]))
    changed = body[:place] + change + body[place + 1 :]
    text = "\n".join([lines[0], changed, lines[-1]])
    if changed == body:
        return
    with pytest.raises(Malformed):
        from_text(Invitation, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no line"),
        (to_text(REQUEST), "text is the join request, and the invitation is wanted"),
        ("\n".join(to_text(INVITATION).splitlines()[:-1]), "is missing; copy all"),
        ("\n".join([*to_text(INVITATION).splitlines()[:3], *to_text(INVITATION).splitlines()[4:]]), "checksum"),
        (to_text(INVITATION).replace("invitation", "x").replace("\n", "\n> "), "'>' does not belong"),
    ],
)
def test_the_reason_tells_what_to_do(text: str, reason: str) -> None:
    """Each slip has its own words."""
    with pytest.raises(Malformed, match=reason):
        from_text(Invitation, text)
