"""Whom a domain's address means: users, aliases, postmaster, catch-all. Pure."""

from p2pcore import names
from p2pcore.records import AddressList

_ALWAYS = ("postmaster", "abuse")  # RFC 5321 §4.5.1; RFC 2142 §2


def expand(addresses: AddressList, address: str) -> tuple[str, ...]:
    """Return the primary addresses of the users that the canonical `address` means, each once; () for nobody.

    A user or alias of that very name comes before the rule for postmaster@ and abuse@, and that before the catch-all.
    """
    if address in addresses.users:
        return (address,)
    users = addresses.aliases.get(address, ())
    if not users and names.split_address(address)[0] in _ALWAYS:
        users = (addresses.postmaster,) if addresses.postmaster else addresses.users[:1]
    return tuple(dict.fromkeys(users or addresses.catch_all))
