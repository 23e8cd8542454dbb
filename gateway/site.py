"""One machine's data directory: what lies where, and the lock that keeps two processes out of it.

    p2pmail.toml                     the configuration; its directory is the site
    founding.toml  joining.toml      the configuration to be, until `init` or `join` has made the rest
    lock                             locked while a process runs here
    control.sock                     UNIX socket of the running process (mode 0600)
    authority/                       the domain's CA: certificate, sealed key, passphrase (mode 0600); directory only
    directory.db                     the domain's address list; directory only
    directory.identity  gateway.identity  node.identity      keys and certificates by role (mode 0600)
    gateway-queue/  gateway-queue.key              a gateway's outgoing mail and its key
    dkim.pem  dkim-ed25519.pem       the keys of a gateway's DKIM signatures
    accounts/<address>/              one user: identity, password (its hash), mailbox.key, mailbox/, outbox/, and
                                     recovery.kit; identity.next and retired-keys (rotation.py);
                                     restored/ and replaced-<time>/ (backups.py)
    node/                            what the node keeps for others
    cache/  tmp/                     the newest domain record, contacts, uptimes, MTA-STS policies; sealed segments
    tls/                             the self-signed certificate that mail programs see

Directories are made with mode 0700, and the program runs under umask 077, so that databases are private as well.
Every file is written beside its place, fsynced and renamed, so a crash leaves the old one or the new one.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from gateway import config as configuration
from gateway.config import Config
from gateway.config_rules import dkim_ed25519_selector, dkim_selector
from gateway.errors import ConfigurationError, OperatorError
from gateway.passphrases import obtain
from p2pcore.crypto.dkim_keys import dkim_record, make_dkim_key, make_ed25519_dkim_key
from p2pcore.crypto.files import replace_file, sync_directory
from p2pcore.crypto.key_files import KeyFiles, is_under_passphrase
from p2pcore.errors import Failure
from p2pcore.records import Identity, Role

CONFIG_NAME = "p2pmail.toml"
FOUNDING, JOINING = "founding.toml", "joining.toml"
QUEUE_KEY = "gateway-queue.key"
MAILBOX_KEY_SIZE = 32  # octets
_USER_KEYS = ("identity", "identity.next", "mailbox.key")
_MACHINE_ROLES: tuple[Role, ...] = ("node", "gateway", "directory")


class Site:
    """The directory of one configuration file; knows paths, opens nothing by itself."""

    def __init__(self, config_file: Path, config: Config) -> None:
        self.config_file = config_file
        self.config = config
        self.directory = config_file.parent.absolute()  # the paths are told to people in other directories
        self.authority = self.directory / "authority"
        self.passphrase = self.authority / "passphrase"
        self.address_book = self.directory / "directory.db"
        self.accounts = self.directory / "accounts"
        self.node = self.directory / "node"
        self.cache = self.directory / "cache"
        self.contacts = self.cache / "contacts.json"
        self.uptimes = self.cache / "uptimes.json"
        self.temporary = self.directory / "tmp"
        self.control_socket = self.directory / "control.sock"
        self.tls = self.directory / "tls"
        source = config.keys.passphrase
        self.keys = KeyFiles((lambda: obtain(source, self.directory, new=self._is_open())) if source else None)

    @classmethod
    def open(cls, config_file: Path, overrides: tuple[str, ...] = ()) -> "Site":
        """Read and check `config_file`. Raises ConfigurationError."""
        try:
            return cls(config_file, configuration.load(config_file, overrides))
        except ConfigurationError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                _check_finished(config_file.parent)
            raise

    def identity_file(self, role: Role) -> Path:
        """Return where the identity of this machine's `role` (not user) lies."""
        return self.directory / f"{role}.identity"

    def identity(self, role: Role) -> Identity:
        """Return this machine's identity as `role`. Raises ConfigurationError where it has none."""
        return self._read_identity(
            self.identity_file(role),
            f"role {role}",
            "is missing; `p2pmail init` or `p2pmail join` makes it, in a new directory, "
            "and domain.roles alone makes no role",
        )

    def own_identity(self) -> Identity:
        """Return the identity under which this machine itself speaks: its first role's, or its first user's.

        Raises ConfigurationError.
        """
        for role in _MACHINE_ROLES:
            if role in self.config.domain.roles:
                return self.identity(role)
        failure = ConfigurationError(f"{self.accounts}: no user has an account here; `p2pmail join` an invited one")
        for address in self.account_addresses():
            try:
                return self.user_identity(address)
            except ConfigurationError as error:
                failure = error  # one damaged account does not stop the others
        raise failure

    def account_directory(self, address: str) -> Path:
        """Return the directory of the user with this canonical address."""
        return self.accounts / quote(address, safe="@+._-")

    def user_identity(self, address: str) -> Identity:
        """Return the identity of the user with this canonical address. Raises ConfigurationError."""
        return self._read_identity(self.account_directory(address) / "identity", f"user {address}")

    def mailbox_key(self, address: str) -> bytes:
        """Return the key of the mailbox of the user with this canonical address. Raises ConfigurationError."""
        path = self.account_directory(address) / "mailbox.key"
        key = self.read_key(path, f"user {address}")
        if len(key) != MAILBOX_KEY_SIZE:
            raise ConfigurationError(f"{path}: {len(key)} octets, not a mailbox key")
        return key

    def read_key(self, path: Path, what: str) -> bytes:
        """Return the private key in `path`. Raises ConfigurationError that names `what` it is needed for."""
        with _named(path, what):
            return self.keys.read(path)

    def key_files(self) -> tuple[Path, ...]:
        """Return every file with private keys that `keys.passphrase` protects and that is there."""
        own = [*self.directory.glob("*.identity"), self.directory / QUEUE_KEY, self.passphrase]
        of_users = [path for name in _USER_KEYS for path in self.accounts.glob(f"*/{name}")]
        return tuple(sorted(path for path in (*own, *self.directory.glob("dkim*.pem"), *of_users) if path.is_file()))

    def unseal_keys(self) -> tuple[Path, ...]:
        """Let every private key here lie open until the next start; return the files. Raises ConfigurationError."""
        files = self._keys_that_open()
        for path in files:
            with _named(path, "keys.passphrase"):
                self.keys.unseal(path)
        return files

    def seal_keys(self) -> None:
        """Put every private key that lies open under the passphrase, if there is one. Raises ConfigurationError."""
        for path in self._keys_that_open():
            with _named(path, "keys.passphrase"):
                self.keys.seal(path)

    def _keys_that_open(self) -> tuple[Path, ...]:
        """Return `key_files`, all of which open: none is changed unless all can be. Raises ConfigurationError."""
        files = self.key_files()
        for path in files:
            with _named(path, "keys.passphrase"):
                self.keys.read(path)
        return files

    def _is_open(self) -> bool:
        """Return whether no private key here is under a passphrase."""
        return not any(is_under_passphrase(path) for path in self.key_files())

    def account_addresses(self) -> tuple[str, ...]:
        """Return the canonical addresses that have a complete account here, sorted."""
        if not self.accounts.is_dir():
            return ()
        complete = (entry for entry in self.accounts.iterdir() if (entry / "password").is_file())
        return tuple(sorted(unquote(entry.name) for entry in complete))

    def tls_files(self) -> tuple[Path, Path]:
        """Return the PEM files (certificate, key) that mail programs see."""
        tls = self.config.tls
        if tls.certificate:
            return self.directory / tls.certificate, self.directory / tls.key
        return self.tls / "certificate.pem", self.tls / "key.pem"

    def dkim_keys(self) -> dict[str, bytes]:
        """Return this gateway's DKIM keys (PEM) by selector, made now, durably, where there are none.

        Raises OperatorError.
        """
        keys = {}
        for selector, name, make in (
            (dkim_selector(self.config), "dkim.pem", make_dkim_key),
            (dkim_ed25519_selector(self.config), "dkim-ed25519.pem", make_ed25519_dkim_key),
        ):
            path = self.directory / name
            if not path.exists():
                self.keys.write(path, make())
            keys[selector] = self.read_key(path, f"selector {selector}")
            try:
                dkim_record(keys[selector])
            except Failure as error:
                raise ConfigurationError(f"{path}: {error}") from error
        return keys

    def _read_identity(self, path: Path, what: str, missing: str = "") -> Identity:
        with _named(path, what, missing):
            identity = self.keys.read_identity(path)
        if not identity.certificate:
            raise ConfigurationError(
                f"{path}: {what}: not admitted yet; run `p2pmail join` with the answer of `ca sign`"
            )
        return identity

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this site's lock. Raises SiteBusy where another process holds it, ConfigurationError."""
        path = self.directory / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SiteBusy(
                    f"{self.directory}: another p2pmail process is using it; if it is starting or stopping, try again"
                ) from error
            yield
        finally:
            os.close(descriptor)


class SiteBusy(ConfigurationError):
    """Another process holds the site's lock; trying again mends it, so a supervisor should (exit code 1)."""

    exit_code = 1


@contextmanager
def _named(path: Path, what: str, missing: str = "") -> Iterator[None]:
    """Raises ConfigurationError with the file of keys and `what` it is for; `missing` is said where it is not there."""
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise ConfigurationError(f"{path}: {what}: {missing}") from error
        raise ConfigurationError(f"{path}: {what}: cannot be read or written: {error.strerror}") from error
    except Failure as error:
        raise ConfigurationError(f"{what}: {error}") from error


def _check_finished(directory: Path) -> None:
    """Raises ConfigurationError where a site in the making lies in `directory`."""
    if (directory / JOINING).exists():
        raise ConfigurationError(
            f"{directory}: this join is not finished; go on with `p2pmail join {directory} --answer FILE`, "
            "where FILE is what `p2pmail ca sign` printed"
        )
    if (directory / FOUNDING).exists():
        raise ConfigurationError(
            f"{directory}: the founding was interrupted; begin again with `p2pmail init {directory} …`"
        )


def placed(place: object, text: str) -> str:
    """Return what is wrong at `place`, which a text that begins with it has told already."""
    return text if text.startswith(f"{place}") else f"{place}: {text}"


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path` (mode 0600), durable on return; the old content stays until the new is complete."""
    try:
        make_private(path.parent)
        replace_file(path, content)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be written: {error.strerror}") from error


def check_access(*directories: Path) -> None:
    """Raises PermissionError where one of `directories` is there and may not be read and written."""
    for directory in directories:
        if directory.is_dir() and not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))


def make_private(directory: Path) -> None:
    """Make `directory` and those missing above it, each with mode 0700; durable on return. Raises OSError."""
    if directory.is_dir():
        return
    make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)
