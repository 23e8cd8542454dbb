"""Whether the MX hosts show what the domain's own MTA-STS policy promises: senders who obey it look just like this."""

import ssl
from typing import Final

from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.doctor.here import SOON
from gateway.doctor.zone import Zone
from gateway.outbound.courier import Courier
from gateway.outbound.errors import NotDelivered
from gateway.outbound.mx import SMTP_PORT, Target
from gateway.outbound.session import Timeouts
from gateway.outbound.sts_policy import Policy
from p2pcore import params
from p2pcore.clock import Clock

_TIMEOUTS: Final = Timeouts(
    connect=10 * params.SECOND, command=10 * params.SECOND, quit=params.SECOND, opening=10 * params.SECOND
)


class _OneHost:
    """Exchangers: this one."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def targets(self, domain: str) -> tuple[Target, ...]:
        return (self._target,)


class _Enforced:
    """Policies: the domain's own, as if its mode were enforce."""

    def __init__(self, policy: Policy) -> None:
        self._policy = Policy("enforce", policy.mx, policy.max_age)

    async def policy(self, domain: str) -> Policy:
        return self._policy


async def check(
    zone: Zone, policy: Policy | None, clock: Clock, port: int = SMTP_PORT, *, verified: ssl.SSLContext | None = None
) -> list[Finding]:
    """Return a finding for each address of each MX host; none where no policy asks for anything.

    `verified` is the context of verified TLS, with the system's authorities where it is None.
    """
    if policy is None or policy.mode == "none":
        return []
    tell = fail if policy.mode == "enforce" else warn
    findings = []
    for host, addresses in zone.exchangers.items():
        for address in addresses:
            target = Target(host, address, port)
            courier = Courier(_OneHost(target), zone.host, _TIMEOUTS, policies=_Enforced(policy), verified=verified)
            try:
                session = await courier.connect(zone.domain)
            except NotDelivered as failure:
                remedy = f"give {host} a certificate of a public authority for its name (tls.certificate, tls.key)"
                findings.append(tell("MTA-STS", f"{host} [{address}]", failure.reply, remedy))
                continue
            end = session.certificate_end or 0
            await session.quit()
            subject, detail = f"{host} [{address}]", f"its certificate fits the policy for {_days(end, clock())} days"
            soon = end <= clock() + SOON
            findings.append(warn("MTA-STS", subject, detail, "renew it") if soon else ok("MTA-STS", subject, detail))
    return findings


def _days(end: int, now: int) -> int:
    return (end - now) // params.DAY
