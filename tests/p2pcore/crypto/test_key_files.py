"""key_files: private keys on disk, lying open or under a passphrase."""

import stat
from pathlib import Path

import pytest

from p2pcore.crypto.key_files import KeyFiles
from p2pcore.errors import Malformed, NotAuthorised, Tampered, TooLarge
from tests.support.identities import World

KEY = bytes(range(32))

pytestmark = pytest.mark.usefixtures("weak_passphrases")


def under(passphrase: str) -> KeyFiles:
    return KeyFiles(lambda: passphrase)


def test_lying_open(tmp_path: Path) -> None:
    """Without a passphrase a file is the key, which only its owner may read."""
    path = tmp_path / "key"
    KeyFiles().write(path, KEY)
    KeyFiles().seal(path)
    assert path.read_bytes() == KEY == KeyFiles().read(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_identity(tmp_path: Path) -> None:
    """An identity is read as it was written, either way, and under a passphrase none of its keys is in the file."""
    identity = World().user("bob").identity
    for keys in (KeyFiles(), under("sesame")):
        path = tmp_path / "identity"
        keys.write_identity(path, identity)
        assert keys.read_identity(path) == identity
    assert not any(key in path.read_bytes() for key in (identity.signing_key, *identity.hpke_keys))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sealed_and_unsealed(tmp_path: Path) -> None:
    """What lies open is read all the same, put under the passphrase once, and taken from under it."""
    path = tmp_path / "key"
    path.write_bytes(KEY)
    keys = under("sesame")
    assert keys.read(path) == KEY == path.read_bytes()
    keys.seal(path)
    sealed = path.read_bytes()
    assert KEY not in sealed
    keys.seal(path)
    assert path.read_bytes() == sealed
    assert under("sesame").read(path) == KEY
    keys.unseal(path)
    assert path.read_bytes() == KEY


def test_asked_for_once(tmp_path: Path) -> None:
    """However many keys there are, the passphrase is asked for once and stretched once; and not at all without need."""
    asked: list[None] = []

    def ask() -> str:
        asked.append(None)
        return "sesame"

    for number in range(3):
        under("sesame").write(tmp_path / "first", KEY)
        keys = KeyFiles(ask)
        (tmp_path / "open").write_bytes(KEY)
        keys.read(tmp_path / "open")
        assert len(asked) == number
        keys.read(tmp_path / "first")
        keys.write(tmp_path / "second", KEY)
        head = slice(0, len(b"p2pmail key 1\n") + 12 + 16)
        assert (tmp_path / "first").read_bytes()[head] == (tmp_path / "second").read_bytes()[head]


def test_wrong_or_missing_passphrase(tmp_path: Path) -> None:
    """The file is named and left as it is, by who asks for a key and by who would let it lie open."""
    path = tmp_path / "key"
    under("sesame").write(path, KEY)
    sealed = path.read_bytes()
    for keys, failure in ((under("another"), Tampered), (KeyFiles(), Malformed)):
        for operation in (keys.read, keys.unseal):
            with pytest.raises(failure, match=str(path)):
                operation(path)
    assert path.read_bytes() == sealed


def test_a_source_that_fails(tmp_path: Path) -> None:
    """What asking for the passphrase raises comes out as it is, and nothing is written."""

    def refuse() -> str:
        raise NotAuthorised("nobody there")

    with pytest.raises(NotAuthorised):
        KeyFiles(refuse).write(tmp_path / "key", KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [-1, 20, 40, 60])
def test_damage(tmp_path: Path, place: int) -> None:
    """A sealed key with any octet changed, or cut, does not open."""
    path = tmp_path / "key"
    under("sesame").write(path, KEY)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place:][1:])
    with pytest.raises((Tampered, Malformed), match=str(path)):
        under("sesame").read(path)
    path.write_bytes(whole[:30])
    with pytest.raises(Malformed, match=str(path)):
        under("sesame").read(path)


def test_what_is_no_key(tmp_path: Path) -> None:
    """A file that is not an identity, or far too large for keys, is named."""
    path = tmp_path / "identity"
    path.write_bytes(b"damaged")
    with pytest.raises(Malformed, match=str(path)):
        KeyFiles().read_identity(path)
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(TooLarge, match=str(path)):
        KeyFiles().read(path)
