"""p2pcore.mail.addresses: whom a domain's address means."""

import pytest

from p2pcore.mail.addresses import expand
from p2pcore.records import AddressList

LIST = AddressList(
    users=("alice@example.org", "bob@example.org"),
    aliases={
        "team@example.org": ("alice@example.org", "bob@example.org", "alice@example.org"),
        "abuse@example.org": ("bob@example.org",),
    },
    catch_all=(),
    postmaster="",
)


@pytest.mark.parametrize(
    ("address", "users"),
    [
        ("alice@example.org", ("alice@example.org",)),
        ("team@example.org", ("alice@example.org", "bob@example.org")),
        ("postmaster@example.org", ("alice@example.org",)),
        ("abuse@example.org", ("bob@example.org",)),
        ("nobody@example.org", ()),
    ],
)
def test_an_address_means_its_users_each_once(address: str, users: tuple[str, ...]) -> None:
    """Postmaster is the first user unless named; an alias of that name comes first."""
    assert expand(LIST, address) == users


def test_a_named_postmaster_takes_postmaster_and_abuse() -> None:
    """RFC 5321 §4.5.1: postmaster is always there."""
    named = AddressList(LIST.users, {}, (), "bob@example.org")
    assert expand(named, "postmaster@example.org") == expand(named, "abuse@example.org") == ("bob@example.org",)


def test_the_catch_all_takes_what_nothing_else_takes() -> None:
    """But not what a user has."""
    caught = AddressList(LIST.users, {}, ("bob@example.org",), "")
    assert expand(caught, "nobody@example.org") == ("bob@example.org",)
    assert expand(caught, "alice@example.org") == ("alice@example.org",)
    assert expand(caught, "postmaster@example.org") == ("alice@example.org",)


def test_a_domain_without_users_has_nobody() -> None:
    """Not even a postmaster."""
    assert expand(AddressList((), {}, (), ""), "postmaster@example.org") == ()
