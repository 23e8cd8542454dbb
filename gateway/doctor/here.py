"""What lies on this machine: certificates and how long they hold, the domain record, and what the process says."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway import control
from gateway.administration import administer
from gateway.control import NotRunning
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.errors import ConfigurationError, OperatorError
from gateway.site import Site
from p2pcore import params
from p2pcore.crypto.certificate_parsing import end_of
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.tls import ShownCertificate, describe_shown, server_context
from p2pcore.errors import Failure
from p2pcore.records import DomainRecord

SOON: Final = 14 * params.DAY  # what ends within that is worth a look: all is renewed long before
YEAR: Final = 366 * params.DAY
_CLOCK: Final = "clock"
_APART: Final = params.CLOCK_WARNING // params.MINUTE
_WATCHING: Final = "docs/deploy.md, Watching, has what to do"


def check(site: Site, record: DomainRecord | None, now: int, *, shown: bool = True) -> list[Finding]:
    """Return what is to be said; `now` in ms; `shown`: of the certificate for mail programs too.

    Blocks on the disk and on the running process. Raises OperatorError.
    """
    return [
        *(_shown(site, now) if shown else ()),
        *_authority(site, now),
        *_identities(site, record, now),
        *_record(record, now),
        *_postmaster(site),
        *_process(site),
    ]


def _shown(site: Site, now: int) -> list[Finding]:
    """The certificate that other MTAs and mail readers see."""
    if not {"gateway", "agent"} & set(site.config.domain.roles):
        return []
    path, key = site.tls_files()
    remedy = "see to tls.certificate and tls.key: what runs shows what they held before, and a start fails"
    try:
        shown = describe_shown(path.read_bytes())
        server_context(path, key)
    except OSError as error:
        return [fail("certificate", f"{error.filename or path}", f"cannot be read: {error.strerror}", remedy)]
    except Failure as failure:
        return [fail("certificate", f"{path}", str(failure), remedy)]
    return [_holds("certificate", f"{path}", shown.not_after, now, "renew it"), *_names(site, path, shown)]


def _names(site: Site, path: Path, shown: ShownCertificate) -> list[Finding]:
    host = site.config.smtp.hostname
    if "gateway" not in site.config.domain.roles:
        return []
    if not shown.covers(host):
        remedy = f"get one for {host} (tls.certificate, tls.key)"
        return [warn("certificate", f"{path}", f"is for {', '.join(shown.names[:5]) or 'no name'}", remedy)]
    if shown.self_signed:
        remedy = "get one of a public authority (tls.certificate, tls.key); MTA-STS in enforce mode needs it"
        return [warn("certificate", f"{path}", "is signed by itself", remedy)]
    return [ok("certificate", f"{path}", f"is for {host}")]


def _authority(site: Site, now: int) -> list[Finding]:
    """The domain's CA, which every identity holds."""
    try:
        end = end_of(site.own_identity().authority)
    except (ConfigurationError, Failure) as error:
        return [fail("authority", site.config.domain.name, str(error), "admit this machine again: `p2pmail join`")]
    remedy = "no certificate of the domain holds longer: found the domain anew in time, and let every machine join"
    return [_holds("authority", site.config.domain.name, end, now, remedy, soon=YEAR)]


def _identities(site: Site, record: DomainRecord | None, now: int) -> list[Finding]:
    findings = []
    revoked = {each.serial for each in record.revocations} if record is not None else set()
    for role in site.config.domain.roles:
        if role == "agent":
            continue
        try:
            certificate = parse_certificate(site.identity(role).certificate)
        except (ConfigurationError, Failure) as error:
            findings.append(fail("identity", role, str(error), "admit this machine again: `p2pmail join`"))
            continue
        if certificate.serial in revoked:
            remedy = "stop it, or let it join anew in an empty directory: `p2pmail join`"
            findings.append(fail("identity", role, "is revoked: nobody accepts what it signs", remedy))
            continue
        remedy = "it renews itself while the directory runs and can be reached"
        findings.append(_holds("identity", role, certificate.not_after, now, remedy))
    return findings


def _record(record: DomainRecord | None, now: int) -> list[Finding]:
    remedy = "start the directory: it signs a new one by itself"
    if record is None:
        return [warn("domain record", "cache", "none has been seen here", "start this machine: `p2pmail run`")]
    return [_holds("domain record", record.domain, record.next_update, now, remedy)]


def _postmaster(site: Site) -> list[Finding]:
    """Whoever takes mail has a postmaster (RFC 5321 §4.5.1); DMARC reports come there as well. Raises OperatorError."""
    if "directory" not in site.config.domain.roles:
        return []
    domain, user = site.config.domain.name, administer(site, "alias-list")["postmaster"]
    if user:
        return [ok("postmaster", domain, user)]
    remedy = "p2pmail domain postmaster <a user's address>"
    return [warn("postmaster", domain, "nobody: mail for postmaster and abuse is refused", remedy)]


def _process(site: Site) -> list[Finding]:
    """The running process compares clocks with the other nodes, and knows what else is wrong."""
    try:
        warnings: list[str] = control.ask(site.control_socket, "status", {})["warnings"]
    except NotRunning as error:
        return [warn(_CLOCK, "this machine", "not compared with the nodes': no process runs here", str(error))]
    except OperatorError as error:
        return [fail("status", f"{site.directory}", str(error), "see the log of the running process")]
    clocks = [each for each in warnings if each.startswith("this machine's clock")]
    found = [fail(_CLOCK, "this machine", each, "run a time service (NTP)") for each in clocks]
    found = found or [ok(_CLOCK, "this machine", f"no node's is more than {_APART} minutes from it")]
    return [
        *found,
        *(warn("status", "this machine", each, _WATCHING) for each in warnings if each not in clocks),
    ]


def _holds(check_name: str, subject: str, until: int, now: int, remedy: str, *, soon: int = SOON) -> Finding:
    day = datetime.fromtimestamp(until / 1_000, UTC).strftime("%Y-%m-%d")
    if until <= now:
        return fail(check_name, subject, f"ended on {day}", remedy)
    if until <= now + soon:
        return warn(check_name, subject, f"ends on {day}", remedy)
    return ok(check_name, subject, f"holds until {day}")
