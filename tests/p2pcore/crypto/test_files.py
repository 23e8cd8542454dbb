"""files: a file is replaced whole, with exactly its mode."""

import stat
from pathlib import Path

import pytest

from p2pcore.crypto.files import PRIVATE, PUBLIC, replace_file


@pytest.mark.parametrize("mode", [PRIVATE, PUBLIC])
def test_content_and_mode(tmp_path: Path, mode: int) -> None:
    """The new content is there with the mode asked for, whatever the old file's was, and nothing else is left."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    replace_file(path, b"new", mode)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """Where the file cannot be replaced, the old one stays and no temporary file does."""
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """A symbolic link at the path is replaced; what it points to is not written."""
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    link = tmp_path / "link"
    link.symlink_to(target)
    replace_file(link, b"ours")
    assert target.read_bytes() == b"theirs"
    assert not link.is_symlink()
