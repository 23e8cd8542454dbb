"""Founds a domain on this machine: authority, directory, this machine's own identities, configuration.

| the process dies | what is there |
|---|---|
| before `founding.toml` | nothing |
| before it is renamed to `p2pmail.toml`, the last step | a founding that was interrupted; the next one begins again |
| after | a complete site |

Keys without either file belong to a site whose configuration has another name or was lost: they are never touched.
"""

import secrets
import shutil
from pathlib import Path

from gateway.config import Config, render
from gateway.config_rules import advertised, relay_endpoint
from gateway.errors import ConfigurationError
from gateway.site import CONFIG_NAME, FOUNDING, Site, make_private, placed, write_private
from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import Authority, parse_certificate
from p2pcore.crypto.files import sync_directory
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.tls import make_server_certificate
from p2pcore.directory.directory import Directory
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure
from p2pcore.records import Identity, Role


def found_domain(directory: Path, config: Config) -> Site:
    """Make a complete new site in `directory`. Raises ConfigurationError where one exists or it cannot be written."""
    site = Site(directory / CONFIG_NAME, config)
    if "directory" not in config.domain.roles:
        raise ConfigurationError("domain.roles: where a domain is founded, the directory must be one of them")
    try:
        make_private(site.directory)
        with site.locked():
            _begin(site)
            _make_everything(site)
            (site.directory / FOUNDING).replace(site.config_file)
            sync_directory(site.directory)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or directory}: {error.strerror}") from error
    except Failure as error:
        raise ConfigurationError(f"{directory}: {error}") from error
    return site


def open_directory(site: Site) -> Directory:
    """Open the domain's directory, whose key and authority lie on this machine. The caller closes it.

    A node or gateway here is listed where its configuration says that it is. A certificate of the directory itself that
    has had half of its life is renewed: expired, it could not ask anybody to publish its successor.
    Raises ConfigurationError.
    """
    identity = site.identity("directory")
    if not site.address_book.exists() and not (site.directory / FOUNDING).exists():
        raise ConfigurationError(
            f"{site.address_book}: is missing, and an empty one would take every address from the domain; "
            "put the newest backup of it there"
        )
    try:
        authority = Authority.load(site.authority, _passphrase(site))
        signer = Signer(SigningKey.from_bytes(identity.signing_key), parse_certificate(identity.certificate))
        book = Directory(site.address_book, site.config.domain.name, authority, signer, system_clock)
        try:
            _move_own_machines(site, book)
            for due in book.renewals_due(system_clock()):
                if due.role == "directory":
                    book.renew(due)
        except BaseException:
            book.close()
            raise
        return book
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (Failure, ValueError) as error:
        raise ConfigurationError(placed(site.directory, str(error))) from error


def _passphrase(site: Site) -> str:
    try:
        return site.keys.read(site.passphrase).decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{site.passphrase}: is no passphrase") from error


def make_tls_certificate(site: Site) -> None:
    """Make the self-signed certificate that mail programs see, unless the operator named one or it exists."""
    certificate, key = site.tls_files()
    if site.config.tls.certificate or (certificate.exists() and key.exists()):
        return
    hosts = dict.fromkeys([site.config.smtp.hostname, "localhost", "127.0.0.1", "::1"])
    certificate_pem, key_pem = make_server_certificate(list(hosts))
    write_private(key, key_pem)
    write_private(certificate, certificate_pem)


def _begin(site: Site) -> None:
    """Clear away an interrupted founding; refuse where anything else lies. `founding.toml` is there on return."""
    unfinished = site.directory / FOUNDING
    if site.config_file.exists():
        raise ConfigurationError(f"{site.config_file}: exists already; nothing was changed")
    roles: tuple[Role, ...] = ("directory", "node", "gateway")
    keys = [site.authority, site.address_book, site.accounts, *(site.identity_file(role) for role in roles)]
    if not unfinished.exists():
        for path in keys:
            if path.exists():
                raise ConfigurationError(
                    f"{path}: exists already, of a domain whose configuration is not {site.config_file}; "
                    "nothing was changed: choose another directory, or move it away"
                )
    shutil.rmtree(site.authority, ignore_errors=True)
    for leftover in site.directory.glob("directory.db*"):
        leftover.unlink()
    write_private(unfinished, render(site.config).encode())


def _make_everything(site: Site) -> None:
    _make_authority(site)
    book = open_directory(site)
    try:
        _admit_own_roles(site, book)
        book.set_replication(site.config.replication.k, site.config.replication.quorum, beforehand=True)
    finally:
        book.close()
    make_tls_certificate(site)


def _move_own_machines(site: Site, book: Directory) -> None:
    """List this machine's node and gateway under their configured endpoints, which may have changed."""
    endpoints: dict[Role, Endpoint] = {"node": advertised(site.config), "gateway": relay_endpoint(site.config)}
    for machine in book.machines():
        endpoint = endpoints[machine.role]
        if machine.state != "active" or machine.endpoint == endpoint or machine.role not in site.config.domain.roles:
            continue
        if site.identity_file(machine.role).exists() and _node_id(site.identity(machine.role)) == machine.node_id:
            book.move_machine(machine.node_id.hex(), endpoint, machine.role)


def _node_id(identity: Identity) -> bytes:
    return SigningKey.from_bytes(identity.signing_key).fingerprint


def _make_authority(site: Site) -> None:
    now = system_clock()
    domain = site.config.domain.name
    passphrase = secrets.token_urlsafe(32)
    authority = Authority.create(domain, now)
    make_private(site.authority)
    site.keys.write(site.passphrase, passphrase.encode())
    authority.save(site.authority, passphrase)
    key = SigningKey.generate()
    certificate = authority.issue("directory", domain, key.public_bytes, None, now, epoch=1)
    _save(site, "directory", domain, key, None, certificate, authority.certificate)


def _admit_own_roles(site: Site, book: Directory) -> None:
    config = site.config
    authority = site.identity("directory").authority
    if "node" in config.domain.roles:
        key = SigningKey.generate()
        endpoint = advertised(config)
        certificate = book.add_node(str(endpoint), endpoint, key.public_bytes)
        _save(site, "node", str(endpoint), key, None, certificate, authority)
    if "gateway" in config.domain.roles:
        key, hpke = SigningKey.generate(), HpkeKey.generate()
        hostname = config.smtp.hostname
        certificate = book.add_gateway(hostname, relay_endpoint(config), key.public_bytes, hpke.public_bytes)
        _save(site, "gateway", hostname, key, hpke, certificate, authority)


def _save(
    site: Site, role: Role, name: str, key: SigningKey, hpke: HpkeKey | None, certificate: bytes, authority: bytes
) -> None:
    identity = Identity(
        role=role,
        domain=site.config.domain.name,
        name=name,
        signing_key=key.private_bytes,
        hpke_keys=(hpke.private_bytes,) if hpke else (),
        certificate=certificate,
        authority=authority,
    )
    site.keys.write_identity(site.identity_file(role), identity)
