"""The domain's rules: who may be listed under which name, what follows from a change, and the record that says so."""

from p2pcore import params
from p2pcore.directory import record
from p2pcore.directory.errors import ReplicationRefused
from p2pcore.directory.issued import Reason
from p2pcore.directory.members import MachineListing
from p2pcore.directory.publications import Publications
from p2pcore.directory.targets import certificates_meant
from p2pcore.directory.users import UserListing
from p2pcore.records import Replication, Revocation

MAX_REPLICATION_CHANGES = 1_000 - 1  # records.DomainRecord


class Directory(UserListing, MachineListing, Publications):
    """The domain's one authority on addresses, machines and revocations; safe to use from several threads.

    All calls block (disk, signatures). A call that raises has changed nothing; one that returns has its change on disk.
    Addresses may be given in any spelling and are listed in canonical form.
    """

    def replication(self) -> tuple[Replication, ...]:
        """Return the history of k and w, oldest first; the last one holds."""
        return self.book.versions.replication()

    def revocations(self) -> tuple[Revocation, ...]:
        return self.book.issued.revocations(self.clock())

    def revoke(self, target: str | bytes, reason: Reason = "retired") -> tuple[Revocation, ...]:
        """Revoke the certificates of a user (address), machine (name, host, node ID) or serial; return what holds now.

        IDs and serials are octets or hexadecimal text. Machines leave the lists. A user stays listed, so that mail to
        her waits instead of bouncing, until she is removed or added again with new keys. `compromised` covers every
        certificate of the key. Raises NotListed, NotAuthorised (the certificate this directory signs with).
        """
        with self.book.transaction():
            revoked = self._issuer.revoke(certificates_meant(self.book, target, reason), reason)
            self.book.touch()
        return revoked

    def set_replication(self, k: int, w: int, *, beforehand: bool = False) -> None:
        """Let every object have k copies of which w must be on disk before success, from now on.

        `beforehand`: the nodes will join later; until w of them run nothing is stored. Raises ReplicationRefused unless
        k/2 < w <= k and at least k nodes are listed (k = 1 is always possible).
        """
        if not (1 <= k <= params.MAX_K and k / 2 < w <= k):
            raise ReplicationRefused(f"k = {k}, w = {w}: k/2 < w <= k and 1 <= k <= {params.MAX_K} must hold")
        with self.book.transaction():
            nodes = self.book.machines.count("node")
            if k > max(nodes, 1) and not beforehand:
                raise ReplicationRefused(f"k = {k}: only {nodes} nodes are known; let more join first")
            now, history = self.clock(), self.book.versions.replication()
            if len(record.recent(history, now)) >= MAX_REPLICATION_CHANGES:
                raise ReplicationRefused(f"k and w have changed {MAX_REPLICATION_CHANGES} times: no more for now")
            if (history[-1].k, history[-1].w) != (k, w):
                self.book.versions.replicate(now, k, w)
                self.book.touch()
