"""Certificates, the domain record and the running process, as `p2pmail doctor` looks at them."""

from typing import Any

import pytest
from msgspec import structs

from gateway import control
from gateway.administration import administer
from gateway.doctor import here
from gateway.doctor.facts import domain_record
from gateway.errors import ConfigurationError
from gateway.site import Site
from p2pcore import params
from p2pcore.clock import system_clock
from p2pcore.crypto.certificate_parsing import end_of
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.tls import make_server_certificate
from p2pcore.records import DomainRecord, Revocation
from tests.support.record_values import fixed

SKEW = "this machine's clock is +400 s from the other nodes': set it right"


def levels(site: Site, now: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in here.check(site, domain_record(site), now):
        found.setdefault(each.check, set()).add(each.level)
    return found


def test_a_new_machine_is_well(site: Site) -> None:
    """Its identities hold for long; what a self-signed certificate is good for is said."""
    found = levels(site, system_clock())
    assert found["identity"] == {"ok"}
    assert found["certificate"] == {"ok", "warn"}
    assert found["clock"] == {"warn"}  # no process runs here that could compare


def test_a_record_that_cannot_be_read_is_named(site: Site) -> None:
    """With what makes it good again; whether it is damaged, or another kind of file."""
    (site.cache / "domain-record").parent.mkdir(exist_ok=True)
    (site.cache / "domain-record").write_bytes(b"")
    again = "; remove it, and `p2pmail run` fetches the newest"
    with pytest.raises(ConfigurationError, match=f"cache/domain-record: .*truncated{again}"):
        domain_record(site)
    (site.cache / "domain-record").unlink()
    (site.cache / "domain-record").mkdir()
    with pytest.raises(ConfigurationError, match=f"cache/domain-record: Is a directory{again}"):
        domain_record(site)


def test_what_ends_is_told_before_and_after(site: Site) -> None:
    """Two weeks before the end it is a warning, then a failure."""
    end = parse_certificate(site.identity("gateway").certificate).not_after
    assert levels(site, end - params.DAY)["identity"] >= {"warn"}
    assert "fail" in levels(site, end)["identity"]


def test_a_directory_that_is_silent_for_long_is_told_before_its_record_ends(site: Site) -> None:
    """It signs one every day: where two weeks are left, nothing has come for two more."""
    record = structs.replace(fixed(DomainRecord), next_update=100 * params.DAY)
    for now, level in ((71, "ok"), (90, "warn"), (101, "fail")):
        found = here.check(site, record, now * params.DAY)
        assert [each.level for each in found if each.check == "domain record"] == [level]


def test_a_revoked_identity_is_told_while_nothing_runs_here(site: Site) -> None:
    """The record on the disk has it off the list: however long its certificate holds, nobody answers it."""
    gone = Revocation(parse_certificate(site.identity("gateway").certificate).serial, "retired", 0)
    record = structs.replace(fixed(DomainRecord), revocations=(gone,))
    found = here.check(site, record, system_clock())
    told = {each.subject: (each.level, each.detail) for each in found if each.check == "identity"}
    assert told.pop("gateway") == ("fail", "is revoked: nobody accepts what it signs")
    assert {level for level, _ in told.values()} == {"ok"}


def test_the_authority_s_end_is_told_a_year_before(site: Site) -> None:
    """Nobody can renew it: whoever hears of it early can still found the domain anew."""
    end = end_of(site.own_identity().authority)
    assert levels(site, system_clock())["authority"] == {"ok"}
    assert levels(site, end - 300 * params.DAY)["authority"] == {"warn"}
    assert levels(site, end)["authority"] == {"fail"}


def test_a_certificate_for_another_host_is_told(site: Site) -> None:
    """The name that mail hosts dial must be in it."""
    for path, octets in zip(site.tls_files(), make_server_certificate(["other.example"]), strict=True):
        path.write_bytes(octets)
    (named,) = (each for each in here.check(site, None, system_clock()) if "other.example" in each.detail)
    assert (named.level, named.remedy.split()[:4]) == ("warn", ["get", "one", "for", site.config.smtp.hostname])
    site.tls_files()[0].write_bytes(b"no certificate")
    assert levels(site, system_clock())["certificate"] == {"fail"}


def test_a_certificate_whose_key_cannot_be_used_is_told(site: Site) -> None:
    """As after a renewal that left the key behind: what runs shows the old pair, and no start succeeds."""
    certificate, key = site.tls_files()
    certificate.write_bytes(make_server_certificate([site.config.smtp.hostname])[0])
    (found,) = (each for each in here.check(site, None, system_clock()) if each.check == "certificate")
    assert (found.level, found.detail) == ("fail", f"{key}: not the key of the certificate in {certificate}")
    key.unlink()
    (found,) = (each for each in here.check(site, None, system_clock()) if each.check == "certificate")
    assert (found.level, found.subject, found.detail) == ("fail", f"{key}", "cannot be read: No such file or directory")
    assert found.remedy.startswith("see to tls.certificate and tls.key")


def test_a_domain_without_postmaster_is_told(site: Site) -> None:
    """Where the directory is: others write there of abuse, and DMARC reports come there."""
    assert levels(site, system_clock())["postmaster"] == {"warn"}
    administer(site, "user-add", address="alice@example.org", password="correct horse")
    assert levels(site, system_clock())["postmaster"] == {"ok"}
    administer(site, "user-remove", address="alice@example.org")
    (found,) = (each for each in here.check(site, None, system_clock()) if each.check == "postmaster")
    assert (found.level, found.remedy) == ("warn", "p2pmail domain postmaster <a user's address>")


def test_the_running_process_says_how_clocks_differ(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is wrong fails: nodes refuse what is signed by it. Other warnings are passed on."""
    answer: dict[str, Any] = {"warnings": [SKEW, "k = 1"], "postmaster": "alice@example.org"}
    monkeypatch.setattr(control, "ask", lambda *_: answer)
    found = levels(site, system_clock())
    assert (found["clock"], found["status"]) == ({"fail"}, {"warn"})
    answer["warnings"] = []
    assert levels(site, system_clock())["clock"] == {"ok"}
