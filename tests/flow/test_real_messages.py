"""Real messages as input: CPython's test data for its e-mail package, and the samples of Debian's SpamAssassin."""

import email
import importlib.util
import re
from email import policy
from pathlib import Path

import pytest

from tests.flow.conftest import Network
from tests.flow.imap_values import Value, parse
from tests.flow.reader import Reader, split

_SPAMASSASSIN = Path("/usr/share/doc/spamassassin/examples")


def _cpython() -> list[Path]:
    found = importlib.util.find_spec("test")
    places = found.submodule_search_locations if found is not None else None
    return [path for place in places or () for path in sorted(Path(place, "test_email", "data").glob("*.txt"))]


def _samples(what: str, paths: list[Path]) -> list[object]:
    """One parameter per file, or one that says why there is none."""
    if not paths:
        return [pytest.param(None, id=what, marks=pytest.mark.skip(f"{what} is not installed here"))]
    return [pytest.param(path, id=f"{what}-{path.stem}") for path in paths]


SAMPLES = _samples("cpython", _cpython()) + _samples("spamassassin", sorted(_SPAMASSASSIN.glob("sample-*.txt")))


@pytest.mark.parametrize("path", SAMPLES)
def test_real_message(network: Network, alice: Reader, path: Path) -> None:
    """Real messages come out octet for octet, and their ENVELOPE and BODYSTRUCTURE can be fetched."""
    content = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
    content += b"" if content.endswith(b"\r\n") else b"\r\n"
    assert network.send(content, "alice").startswith("250")
    uid = alice.wait_for(content)
    assert split(alice.message(uid), content)
    values = parse(alice.fetch(str(uid), "(RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)")[uid])
    assert values[b"RFC822.SIZE"] == str(len(alice.message(uid))).encode()
    envelope = values[b"ENVELOPE"]
    assert isinstance(envelope, list)
    assert len(envelope) == 10
    parsed = email.message_from_bytes(content, policy=policy.compat32)
    has_parts = parsed.is_multipart() and parsed.get_content_maintype() == "multipart"
    assert _is_multipart(values[b"BODYSTRUCTURE"]) == _is_multipart(values[b"BODY"]) == has_parts


def _is_multipart(structure: Value) -> bool:
    assert isinstance(structure, list)
    return isinstance(structure[0], list)
