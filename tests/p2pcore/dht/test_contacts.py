"""The contacts file."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.contacts import load_contacts, save_contacts
from p2pcore.errors import Malformed

CONTACTS = (Contact(bytes(32), "10.0.0.1", 4_000), Contact(bytes([255] * 32), "2001:db8::1", 65_535))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Contacts survive, in order, up to the limit; saving replaces."""
    path = tmp_path / "sub" / "contacts.json"
    assert load_contacts(path) == ()
    save_contacts(path, CONTACTS)
    assert load_contacts(path) == CONTACTS
    save_contacts(path, CONTACTS[:1] * (params.MAX_SAVED_CONTACTS + 5))
    assert len(load_contacts(path)) == params.MAX_SAVED_CONTACTS
    assert [file.name for file in path.parent.iterdir()] == ["contacts.json"]


def test_a_crash_while_saving_leaves_the_old_file(tmp_path: Path) -> None:
    """A half-written temporary file beside the old one changes nothing and is overwritten."""
    path = tmp_path / "contacts.json"
    save_contacts(path, CONTACTS)
    (tmp_path / "contacts.json.new").write_text('{"contac')
    assert load_contacts(path) == CONTACTS
    save_contacts(path, CONTACTS[1:])
    assert load_contacts(path) == CONTACTS[1:]


@given(octets=st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_file_loads_or_is_malformed(octets: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is in the file, loading returns contacts or raises Malformed."""
    path = tmp_path_factory.mktemp("contacts") / "contacts.json"
    path.write_bytes(octets)
    with contextlib.suppress(Malformed):
        load_contacts(path)


@pytest.mark.parametrize(
    "entry",
    [
        '{"node_id": "00", "host": "10.0.0.1", "port": 1}',
        '{"node_id": "%s", "host": "name.example", "port": 1}' % ("00" * 32),
        '{"node_id": "%s", "host": "10.0.0.1", "port": 0}' % ("00" * 32),
        '{"node_id": "%s", "host": "10.0.0.1"}' % ("00" * 32),
        "7",
    ],
)
def test_what_is_no_contact_is_malformed(tmp_path: Path, entry: str) -> None:
    """Short IDs, names, port 0 and missing fields are refused with the file's name."""
    path = tmp_path / "contacts.json"
    path.write_text(f'{{"contacts": [{entry}]}}')
    with pytest.raises(Malformed, match=r"contacts\.json"):
        load_contacts(path)
