"""The further domains of a gateway's process: sites of their own, whose mail comes in at the first one's smtp.listen.

Each is a whole site, joined like any other: its lock, identity, record, queue, DKIM keys, relay port and control socket
are its own, so every command works in its directory. Its smtp.listen is not listened on while it runs here.
"""

from dataclasses import dataclass

from gateway.errors import ConfigurationError
from gateway.site import Site
from gateway.smtp.server import GatewaySmtp


@dataclass(frozen=True, slots=True)
class Together:
    """The sites of one process, the first of which listens for all; `listener` is given to the others."""

    sites: tuple[Site, ...]
    listener: GatewaySmtp | None = None

    @property
    def domains(self) -> frozenset[str]:
        """The domains that mail is taken for."""
        return frozenset(site.config.domain.name for site in self.sites)


def further_sites(site: Site) -> tuple[Site, ...]:
    """Open the sites that smtp.also of `site` names, in that order. Raises ConfigurationError."""
    found: list[Site] = []
    for name in site.config.smtp.also:
        other = Site.open((site.directory / name).absolute())
        where = f"{site.config_file}: smtp.also: {other.config_file}"
        if "gateway" not in other.config.domain.roles:
            raise ConfigurationError(f"{where}: is no gateway of {other.config.domain.name}; let it join as one")
        if other.config.smtp.also:
            raise ConfigurationError(f"{where}: has a smtp.also of its own; name all files in one place")
        for each in (site, *found):
            if other.directory.resolve() == each.directory.resolve():
                raise ConfigurationError(
                    f"{where}: lies beside {each.config_file}; a domain has a directory of its own"
                )
            if other.config.domain.name == each.config.domain.name:
                raise ConfigurationError(f"{where}: {each.config_file} is of {each.config.domain.name} already")
        found.append(other)
    return tuple(found)
