"""SIGKILL at any moment: what was acknowledged is in the book, and versions go on increasing."""

import subprocess
import sys
from pathlib import Path

import pytest

from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import Authority
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.directory.directory import Directory
from p2pcore.directory.publishing import version_of
from p2pcore.records import DomainRecord, Identity, decode

DOMAIN = "example.org"

ADD_USERS_FOREVER = """
import sys
from pathlib import Path
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.directory.publishing import version_of
from tests.p2pcore.directory.test_crash import open_directory

directory = open_directory(Path(sys.argv[1]))
signing, hpke = SigningKey.generate().public_bytes, HpkeKey.generate().public_bytes
number = len(directory.users())
while True:
    directory.add_user(f"u{number}@example.org", signing, hpke)
    print(f"u{number}@example.org", version_of(directory.current_record()).time, flush=True)
    number += 1
"""


def make_directory(path: Path) -> None:
    """Write a CA and a directory identity below `path`."""
    authority, key = Authority.create(DOMAIN, system_clock()), SigningKey.generate()
    der = authority.issue("directory", "directory", key.public_bytes, None, system_clock(), epoch=1)
    authority.save(path, "passphrase")
    identity = Identity("directory", DOMAIN, "directory", key.private_bytes, (), der, authority.certificate)
    KeyFiles().write_identity(path / "directory.key", identity)


def open_directory(path: Path) -> Directory:
    identity = KeyFiles().read_identity(path / "directory.key")
    certificate = Trust(identity.authority, DOMAIN).add(identity.certificate)
    signer = Signer(SigningKey.from_bytes(identity.signing_key), certificate)
    return Directory(path / "book.sqlite", DOMAIN, Authority.load(path, "passphrase"), signer, system_clock)


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_killed_directory_has_every_user_it_acknowledged(tmp_path: Path, lines: int) -> None:
    """Killed twice while adding users, the book has all of them, and the next version is later than any printed."""
    make_directory(tmp_path)
    acknowledged: set[str] = set()
    last = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", ADD_USERS_FOREVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        ) as process:
            assert process.stdout is not None
            printed = [process.stdout.readline() for _ in range(lines)]
            process.kill()
            printed += process.stdout.readlines()
        whole = [line.split() for line in printed if line.endswith("\n")]
        acknowledged |= {address for address, _time in whole}
        directory = open_directory(tmp_path)
        listed = {user.address for user in directory.users()}
        assert len(acknowledged) >= lines
        assert acknowledged <= listed
        published = directory.current_record()
        assert decode(DomainRecord, published.content).domain == DOMAIN
        directory.add_user(
            f"after{len(listed)}@example.org", SigningKey.generate().public_bytes, HpkeKey.generate().public_bytes
        )
        newer = version_of(directory.current_record()).time
        assert newer > version_of(published).time > last
        assert all(newer > int(time) for _address, time in whole)
        last = newer
        directory.close()
