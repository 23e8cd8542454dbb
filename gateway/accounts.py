"""The users whose mail this machine keeps: their keys, their stores, and who may log in.

An account is complete once its `password` file exists, which is written last: an interrupted `user add` leaves keys
that the next `user add` of the same address takes up again.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gateway import backups, rotation
from gateway.errors import AccountClosed, ConfigurationError, OperatorError
from gateway.lost import tell_if_lost
from gateway.mailbox.errors import MailboxError
from gateway.mailbox.store import MailStore
from gateway.site import MAILBOX_KEY_SIZE, Site, make_private, write_private
from p2pcore.clock import Clock, system_clock
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.files import sync_directory
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.passwords import ScramVerifier, hash_for_login, hash_password, verify_password
from p2pcore.crypto.recovery_kit import seal_kit
from p2pcore.errors import Failure, Malformed
from p2pcore.names import canonical_address
from p2pcore.records import Identity

SHORTEST_PASSWORD = 8  # characters


@dataclass(frozen=True, slots=True)
class Account:
    """One user's open account."""

    address: str
    identity: Identity
    login: "Login"
    key: bytes  # of the mailbox, 32 octets
    store: MailStore


@dataclass(frozen=True, slots=True)
class Login:
    """What a password is compared with."""

    password: str  # PHC string
    scram: ScramVerifier | None  # None: the password was set when none was kept


@dataclass(frozen=True, slots=True)
class Kit:
    """A recovery kit on disk, and the passphrase that opens it, which is nowhere else."""

    path: Path
    passphrase: str


class Accounts:
    """The open accounts of this machine; answers logins."""

    def __init__(self, site: Site, clock: Clock = system_clock) -> None:
        self._site = site
        self._clock = clock
        self._open: dict[str, Account] = {}
        self._shut: dict[str, Login] = {}  # of accounts whose mail is not open, for now
        self._closing: list[Callable[[MailStore], Awaitable[None]]] = []
        self._nobody = hash_password(secrets.token_hex(16))
        self._decoys = secrets.token_bytes(32)

    async def open(self, address: str) -> Account:
        """Open the account of a canonical address. Raises ConfigurationError where its files cannot be used."""
        directory = self._site.account_directory(address)
        login = self._shut[address] = _login(directory)
        identity = self._identity(address)
        key = await asyncio.to_thread(self._site.mailbox_key, address)
        try:
            await asyncio.to_thread(backups.finish_restore, directory)
            tell_if_lost(directory / "mailbox" / "mail.db", f"the mail of {address}", "p2pmail mailbox restore")
            store = await MailStore.open(directory / "mailbox", key)
        except (MailboxError, OSError, ValueError) as error:
            raise ConfigurationError(f"{directory / 'mailbox'}: the mail of {address}: {error}") from error
        account = Account(address, identity, login, key, store)
        self._open[address] = account
        del self._shut[address]
        return account

    async def reload(self, address: str) -> Account:
        """Take the identity on disk for the open account of an address and return it; its sessions stay.

        Raises ConfigurationError.
        """
        self.renew(self._identity(address))
        return self._open[address]

    def _identity(self, address: str) -> Identity:
        try:
            rotation.drop_old_keys(self._site, address, self._clock())
        except (OSError, Failure) as error:
            directory = self._site.account_directory(address)
            raise ConfigurationError(f"{directory}: old keys of {address}: {error}") from error
        return self._site.user_identity(address)

    async def close(self, address: str) -> None:
        """Close an account, whose owner is told so when she logs in; does nothing where it is not open."""
        account = self._open.pop(address, None)
        if account is not None:
            self._shut[address] = account.login
            for leave in self._closing:
                await leave(account.store)
            await account.store.close()

    def forget(self, address: str) -> None:
        """Know the closed account of an address no more."""
        self._shut.pop(address, None)

    def on_close(self, leave: Callable[[MailStore], Awaitable[None]]) -> None:
        """Call `leave` before a store is closed: who uses it ends that."""
        self._closing.append(leave)

    async def reload_password(self, address: str) -> None:
        """Take the password on disk for logins from now on; sessions stay."""
        account = self._open.get(address)
        if account is not None:
            self._open[address] = replace(account, login=_login(self._site.account_directory(address)))
        elif address in self._shut:
            self._shut[address] = _login(self._site.account_directory(address))

    def renew(self, identity: Identity) -> None:
        """Let the open account of `identity` have it from now on; its sessions stay."""
        account = self._open.get(identity.name)
        if account is not None:
            self._open[identity.name] = replace(account, identity=identity)

    async def close_all(self) -> None:
        """Close every account."""
        for address in tuple(self._open):
            await self.close(address)

    @property
    def all(self) -> tuple[Account, ...]:
        return tuple(self._open.values())

    async def authenticate(self, user: str, password: str) -> MailStore | None:
        """Return the store of `user` (address or local part) if `password` is hers; as slow for an unknown name.

        Raises AccountClosed.
        """
        account = await self._logged_in(user, password)
        return account.store if account else None

    @property
    def scram(self) -> bool:
        """Whether every account has a verifier, so that SCRAM may be offered."""
        logins = [account.login for account in self._open.values()] + list(self._shut.values())
        return all(login.scram is not None for login in logins)

    def verifier(self, user: str) -> ScramVerifier:
        """Return the SCRAM verifier of `user` (address or local part), or one that fits no password."""
        address = self.counted_as(user)
        login = self._login_of(address)
        if login is None or login.scram is None:
            return ScramVerifier.decoy(address, self._decoys)  # as an account's: one for every spelling
        return login.scram

    def proven(self, user: str, verifier: ScramVerifier) -> MailStore | None:
        """Return the store of `user` after a proof against `verifier`; None where it is no longer hers.

        Raises AccountClosed.
        """
        address = self.counted_as(user)
        login = self._login_of(address)
        return self._opened(address).store if login is not None and login.scram is verifier else None

    def counted_as(self, user: str) -> str:
        """Return the one name of whatever account `user` (address or local part) means, whether there is one or not."""
        try:
            return self._address(user)
        except Malformed:
            return user

    async def authenticate_sender(self, user: str, password: str) -> Certificate | None:
        """Return the certificate of `user` if `password` is hers, as `authenticate`. Raises AccountClosed."""
        account = await self._logged_in(user, password)
        return parse_certificate(account.identity.certificate) if account else None

    async def _logged_in(self, user: str, password: str) -> Account | None:
        address = self.counted_as(user)
        login = self._login_of(address)
        phc = login.password if login else self._nobody
        correct = await asyncio.to_thread(verify_password, phc, password)
        if login is None or not correct or self._login_of(address) != login:  # it was changed meanwhile
            return None
        return self._opened(address)

    def _login_of(self, address: str) -> Login | None:
        account = self._open.get(address)
        return self._shut.get(address) if account is None else account.login

    def _opened(self, address: str) -> Account:
        """Return an account of ours. Raises AccountClosed."""
        if address not in self._open:
            raise AccountClosed(address)
        return self._open[address]

    def _address(self, user: str) -> str:
        return canonical_address(user if "@" in user else f"{user}@{self._site.config.domain.name}")


def check_password(password: str) -> None:
    """Raises OperatorError where `password` will not do."""
    if len(password) < SHORTEST_PASSWORD:
        raise OperatorError(f"the password is too short: use at least {SHORTEST_PASSWORD} characters")


def prepare_keys(site: Site, address: str) -> Identity:
    """Return the keys of the user, made first if there are none; the certificate may still be missing."""
    path = site.account_directory(address) / "identity"
    if path.exists():
        return site.keys.read_identity(path)
    make_private(path.parent)
    identity = Identity(
        role="user",
        domain=site.config.domain.name,
        name=address,
        signing_key=SigningKey.generate().private_bytes,
        hpke_keys=(HpkeKey.generate().private_bytes,),
        certificate=b"",
        authority=b"",
    )
    site.keys.write_identity(path, identity)
    return identity


def complete(site: Site, identity: Identity, password: str) -> Kit:
    """Install the account of a newly admitted user, with a recovery kit; as `install`."""
    check_password(password)
    kit = write_kit(site, identity)
    install(site, identity, password)
    return kit


def install(site: Site, identity: Identity, password: str) -> None:
    """Write the admitted `identity`, the mailbox key and, last, the password of an account; durable on return.

    A mailbox that is there is kept. Raises OperatorError, OSError.
    """
    check_password(password)
    directory = site.account_directory(identity.name)
    make_private(directory)
    site.keys.write_identity(directory / "identity", identity)
    if not (directory / "mailbox.key").exists():
        site.keys.write(directory / "mailbox.key", secrets.token_bytes(MAILBOX_KEY_SIZE))
    set_password(directory, password)


def write_kit(site: Site, identity: Identity) -> Kit:
    """Replace the recovery kit of an account by one under a fresh passphrase; durable on return."""
    kit = Kit(site.account_directory(identity.name) / "recovery.kit", "-".join(secrets.token_hex(3) for _ in range(6)))
    write_private(kit.path, seal_kit(identity, kit.passphrase))
    return kit


def set_password(directory: Path, password: str) -> None:
    """Make `password` the one that mail readers log in with; durable on return. Raises OperatorError."""
    check_password(password)
    write_private(directory / "password", hash_for_login(password).encode())


def retire(directory: Path) -> None:
    """Let an account be no account any more; its keys and its mail stay. Durable on return. Raises OSError."""
    if directory.is_dir():
        (directory / "password").unlink(missing_ok=True)
        sync_directory(directory)


def _login(directory: Path) -> Login:
    """Return what an account's password is compared with. Raises ConfigurationError."""
    phc, _, second = _read(directory / "password").decode(errors="replace").partition("\n")
    try:
        return Login(phc, ScramVerifier.parse(second.strip()) if second else None)
    except Malformed as error:
        raise ConfigurationError(f"{directory / 'password'}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
