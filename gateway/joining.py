"""Joins a machine, or one more user of a machine, to an existing domain: request from invitation, then the answer.

| step | made, durable | after a crash |
|---|---|---|
| request | private keys; then the invitation (and, of a new site, `joining.toml`) | the same command again: same keys |
| answer | identity, account, domain record; a new site's configuration last | the same command again |
| answer, end | invitation and `joining.toml` removed | what is left of them is not looked at |

A user may join a site that is there already and has an agent of the same domain: one agent then serves several.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import accounts
from gateway import config as configuration
from gateway.config import Config, RoleName
from gateway.config_rules import advertised, is_loopback, relay_endpoint
from gateway.errors import ConfigurationError, OperatorError
from gateway.founding import make_tls_certificate
from gateway.site import CONFIG_NAME, JOINING, Site, make_private, write_private
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.trust import Trust
from p2pcore.directory import joining
from p2pcore.directory.text_forms import from_text, to_text
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed
from p2pcore.mail.record_file import save_record
from p2pcore.names import canonical_address, split_address
from p2pcore.records import Identity, Invitation, JoinAnswer, PublishedVersion, Role, decode

_INVITATION = "invitation.txt"
_ROLES: dict[Role, RoleName] = {"node": "node", "gateway": "gateway", "user": "agent"}


@dataclass(frozen=True, slots=True)
class Joined:
    """Who is admitted; the kit's fields are empty unless it is a user."""

    role: Role
    name: str
    kit: str = ""
    kit_passphrase: str = ""


def request_admission(directory: Path, invitation_text: str, overrides: list[str]) -> str:
    """Make this machine's keys in `directory` and return the request for `ca sign`.

    Raises ConfigurationError, OperatorError, Malformed.
    """
    if (directory / CONFIG_NAME).exists():
        raise ConfigurationError(f"{directory / CONFIG_NAME}: exists already; nothing was changed")
    invitation = _invitation(invitation_text)
    config = configuration.check(configuration.with_overrides(_seed(invitation), overrides), "p2pmail join")
    if (config.domain.name, config.domain.roles) != (invitation.domain, (_ROLES[invitation.role],)):
        raise ConfigurationError("domain.name and domain.roles are the invitation's; one machine more, one invitation")
    _check_reachable(config, invitation)
    site = Site(directory / CONFIG_NAME, config)
    with _writing(site):
        request = _request(site, invitation)
        write_private(site.directory / JOINING, configuration.render(config).encode())
        write_private(site.directory / _INVITATION, invitation_text.encode())
    return request


def request_account(site: Site, invitation_text: str) -> str:
    """Make the keys of a further user of `site` and return the request for `ca sign`.

    The caller holds the site's lock. Raises ConfigurationError, OperatorError, Malformed.
    """
    invitation = _invitation(invitation_text)
    if invitation.role != "user":
        raise ConfigurationError(
            f"{site.config_file}: exists already, and only users can join a site that does; "
            f"let the {invitation.role} join in another directory"
        )
    if "agent" not in site.config.domain.roles:
        raise ConfigurationError(f"{site.config_file}: domain.roles: no agent runs here; join in another directory")
    if invitation.domain != site.config.domain.name:
        raise OperatorError(f"the invitation is for {invitation.domain}, this is a site of {site.config.domain.name}")
    if site.account_addresses() and invitation.authority != site.own_identity().authority:
        raise OperatorError(f"the invitation names another authority of {invitation.domain} than this site has")
    if invitation.name in site.account_addresses():
        raise OperatorError(f"{invitation.name}: has an account here already")
    request = _request(site, invitation)
    write_private(site.account_directory(invitation.name) / _INVITATION, invitation_text.encode())
    return request


def finish_join(directory: Path, answer_text: str, password: str) -> Joined:
    """Install the answer of `ca sign` for a new site, which is complete on return.

    Raises ConfigurationError, OperatorError, Refused.
    """
    answer = from_text(JoinAnswer, answer_text)
    if not all((directory / name).is_file() for name in (_INVITATION, JOINING)):
        raise ConfigurationError(f"{directory}: begin with `p2pmail join {directory} --invitation …`")
    invitation = _kept(directory / _INVITATION)
    site = Site(directory / CONFIG_NAME, configuration.load(directory / JOINING))
    with _writing(site):
        joined = _install(site, invitation, answer, password)
        trust = Trust(invitation.authority, invitation.domain)
        trust.add(answer.directory)
        make_private(site.cache)
        save_record(site.cache, decode(PublishedVersion, answer.record), trust)
        make_tls_certificate(site)
        write_private(site.config_file, configuration.render(site.config).encode())
        for leftover in (_INVITATION, JOINING):
            (site.directory / leftover).unlink(missing_ok=True)
    return joined


def finish_account(site: Site, answer_text: str, password: str) -> Joined:
    """Install the answer of `ca sign` for a further user of `site`. The caller holds the site's lock.

    Raises OperatorError, Refused.
    """
    answer = from_text(JoinAnswer, answer_text)
    addresses = parse_certificate(answer.certificate).addresses
    pending = site.account_directory(addresses[0]) / _INVITATION if addresses else None
    if pending is None or not pending.is_file():
        raise OperatorError("nobody here waits for this answer; begin with `p2pmail join … --invitation …`")
    joined = _install(site, _kept(pending), answer, password)
    pending.unlink()
    return joined


def _invitation(text: str) -> Invitation:
    """Return the invitation in `text`, if it is one that makes a site. Raises Malformed."""
    invitation = from_text(Invitation, text)
    if invitation.role not in _ROLES:
        raise Malformed(f"invitation: nobody joins as {invitation.role}")
    if invitation.role == "user":
        name = canonical_address(invitation.name)
        if name != invitation.name or split_address(name)[1] != invitation.domain:
            raise Malformed(f"invitation: {invitation.name!r} is not an address of {invitation.domain}")
    return invitation


def _kept(path: Path) -> Invitation:
    """Return the invitation that the request was made from. Raises ConfigurationError."""
    try:
        return _invitation(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, Malformed) as error:
        raise ConfigurationError(f"{path}: cannot be read; begin again with `p2pmail join … --invitation …`") from error


def _seed(invitation: Invitation) -> dict[str, Any]:
    seed: dict[str, Any] = {
        "domain": {"name": invitation.domain, "roles": [_ROLES[invitation.role]]},
        "node": {"bootstrap": [str(Endpoint(contact.host, contact.port)) for contact in invitation.contacts]},
    }
    if invitation.role == "gateway":
        seed["smtp"] = {"hostname": invitation.name}
    return seed


def _check_reachable(config: Config, invitation: Invitation) -> None:
    """Raises ConfigurationError where the newcomer is a node on loopback, the default, and the others are not."""
    endpoint = advertised(config)
    others = any(not is_loopback(contact.host) for contact in invitation.contacts)
    if invitation.role == "node" and is_loopback(endpoint.host) and others:
        raise ConfigurationError(
            f"node.listen: the domain's nodes cannot reach {endpoint}; write the public one of this node: "
            "--set node.listen=ADDRESS:PORT"
        )


def _request(site: Site, invitation: Invitation) -> str:
    keys = _keys(site, invitation)
    return to_text(joining.make_request(invitation, keys, _endpoint(site.config, invitation)))


def _endpoint(config: Config, invitation: Invitation) -> Endpoint | None:
    match invitation.role:
        case "node":
            return advertised(config)
        case "gateway":
            return relay_endpoint(config)
        case _:
            return None


def _identity_file(site: Site, invitation: Invitation) -> Path:
    if invitation.role == "user":
        return site.account_directory(invitation.name) / "identity"
    return site.identity_file(invitation.role)


def _keys(site: Site, invitation: Invitation) -> Identity:
    """Return the keys that wait for this invitation's admission; fresh ones where there are no such."""
    path = _identity_file(site, invitation)
    if path.exists():
        held = site.keys.read_identity(path)
        if (held.role, held.domain, held.name) == (invitation.role, invitation.domain, invitation.name):
            return held
        if held.certificate:
            raise ConfigurationError(f"{path}: is the admitted {held.role} {held.name}; join in another directory")
    make_private(path.parent)
    identity = joining.new_identity(invitation)
    site.keys.write_identity(path, identity)
    return identity


def _install(site: Site, invitation: Invitation, answer: JoinAnswer, password: str) -> Joined:
    path = _identity_file(site, invitation)
    identity = joining.install(answer, site.keys.read_identity(path), invitation)
    if invitation.role != "user":
        site.keys.write_identity(path, identity)
        return Joined(invitation.role, invitation.name)
    kit = accounts.complete(site, identity, password)
    return Joined(invitation.role, invitation.name, str(kit.path), kit.passphrase)


@contextmanager
def _writing(site: Site) -> Iterator[None]:
    """Hold the lock of a site in the making; what the disk refuses becomes a ConfigurationError."""
    try:
        make_private(site.directory)
        with site.locked():
            yield
    except OSError as error:
        raise ConfigurationError(f"{error.filename or site.directory}: {error.strerror}") from error
