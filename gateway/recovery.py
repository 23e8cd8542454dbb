"""A user's account from her recovery kit: into a site that is there, or as a new site after a lost machine.

A new site's configuration is written last; until then the same command begins again.
"""

from pathlib import Path

from gateway import accounts, rotation
from gateway import config as configuration
from gateway.errors import ConfigurationError, OperatorError
from gateway.founding import make_tls_certificate
from gateway.site import Site, make_private, write_private
from p2pcore.clock import system_clock
from p2pcore.crypto.recovery_kit import open_kit
from p2pcore.crypto.trust import Trust
from p2pcore.errors import Malformed
from p2pcore.names import canonical_address
from p2pcore.records import Identity


def opened(kit: bytes, passphrase: str) -> Identity:
    """Return the user's identity in `kit`, its certificate checked. Raises OperatorError, Malformed, Tampered."""
    identity = open_kit(kit, passphrase)
    if identity.role != "user" or canonical_address(identity.name) != identity.name:
        raise Malformed(f"the kit is of {identity.role} {identity.name!r}, not of a user")
    certificate = Trust(identity.authority, identity.domain).add(identity.certificate)
    if identity.name not in certificate.addresses:
        raise Malformed(f"the kit's certificate is not of {identity.name}")
    return identity


def recover_account(site: Site, identity: Identity, password: str) -> bool:
    """Make the account of `identity` at `site`, whose lock the caller holds; return True.

    False: she has an account here with other keys (as after a theft), which now opens what was sealed to the kit's
    keys as well, and is otherwise as it was. Raises OperatorError.
    """
    if identity.domain != site.config.domain.name:
        raise OperatorError(f"the kit is of {identity.name}, not of a user of {site.config.domain.name}")
    if "agent" not in site.config.domain.roles:
        raise OperatorError(f"{site.config_file}: no agent runs here; -c FILE of a new directory makes a site")
    if identity.name in site.account_addresses():
        held = site.user_identity(identity.name)
        if not rotation.add_old_keys(site, held, identity.hpke_keys, system_clock()):
            raise OperatorError(f"{identity.name}: has an account here already; nothing was changed")
        return False
    accounts.install(site, identity, password)
    return True


def recover_site(config_file: Path, identity: Identity, password: str, overrides: list[str]) -> Site:
    """Make a site with an agent for `identity` alone. `overrides` name the nodes to begin with (node.bootstrap).

    Raises ConfigurationError, OperatorError.
    """
    seed = {"domain": {"name": identity.domain, "roles": ["agent"]}}
    config = configuration.check(configuration.with_overrides(seed, overrides), "p2pmail recover")
    if not config.node.bootstrap:
        raise ConfigurationError(
            f"{config_file}: does not exist, and to make it a node to begin with is needed: "
            """add --set 'node.bootstrap=["host:port"]'"""
        )
    site = Site(config_file, config)
    try:
        make_private(site.directory)
        with site.locked():
            accounts.install(site, identity, password)
            make_tls_certificate(site)
            write_private(config_file, configuration.render(config).encode())
    except OSError as error:
        raise ConfigurationError(f"{error.filename or site.directory}: {error.strerror}") from error
    return site
