"""Which real programs are here: a test that needs one says so, and is skipped with the way to get it where it lacks."""

import os
import shutil
import subprocess

import pytest

# where Debian, and install.sh, put what is not on every user's PATH
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin:/opt/exim4"


def program(name: str, package: str = "") -> str:
    """Return the path of a program, which `package` has, or install.sh alone. Skips the test where it is missing."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        apt_get = f" or `apt-get install {package}`" if package else ""
        pytest.skip(f"{name} is not installed; get it with `make interop`{apt_get}")
    return path


def swaks() -> str:
    """Return the path of a swaks that speaks TLS. Skips the test where it is missing."""
    path = program("swaks", "swaks")
    support = subprocess.run([path, "--support"], capture_output=True, text=True, check=True).stdout
    if "=== TLS supported" not in support:
        pytest.skip("swaks speaks no TLS here; get it with `make interop` or `apt-get install libnet-ssleay-perl`")
    return path


def require_root(reason: str) -> None:
    """Skip the test where we are not root."""
    if os.geteuid() != 0:
        pytest.skip(f"{reason} as root only")
