"""A founded site, or another domain's MTA, for every test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.founding import found_domain
from gateway.site import Site
from p2pcore import params
from tests.gateway import sites
from tests.support.fake_mta import FakeMta


@pytest.fixture
def weak_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases are stretched so little that nobody waits for it; each file says how much itself."""
    _weaken(monkeypatch)


@pytest.fixture(scope="session")
def _founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("domain") / "site"
    with pytest.MonkeyPatch.context() as patch:
        _weaken(patch)
        found_domain(directory, sites.config_of())
    return directory


@pytest.fixture
def site(tmp_path: Path, _founded: Path, weak_passphrases: None) -> Site:
    """A domain founded on this machine: node, gateway, agent and directory, no user yet."""
    return sites.copied(_founded, tmp_path / "site")


@pytest.fixture
async def mta() -> AsyncIterator[FakeMta]:
    """Another domain's MTA, up."""
    mta = FakeMta()
    await mta.start()
    yield mta
    await mta.stop()


def _weaken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(params, "PASSPHRASE_MEMORY", 64)
    patch.setattr(params, "PASSPHRASE_PASSES", 1)
