"""The domain's directory as an administrator meets it on one machine: there, or on another machine."""

from gateway.errors import OperatorError
from gateway.site import Site
from p2pcore.directory.directory import Directory
from p2pcore.directory.joining import Admissions


class Office:
    """`directory` is None where this machine is not the directory; what needs it then raises OperatorError."""

    def __init__(self, site: Site, directory: Directory | None) -> None:
        self._site = site
        self._directory = directory

    @property
    def is_here(self) -> bool:
        return self._directory is not None

    @property
    def book(self) -> Directory:
        """The directory. Raises OperatorError."""
        if self._directory is None:
            raise OperatorError(
                f"{self._site.config_file}: not the domain's directory; do this where `p2pmail init` ran"
            )
        return self._directory

    @property
    def authority(self) -> bytes:
        """The CA's certificate (DER)."""
        return self._site.identity("directory").authority

    @property
    def admissions(self) -> Admissions:
        """Invitations and what becomes of them. Raises OperatorError."""
        return Admissions(self.book, self.authority)
