"""Whether the nodes refuse this machine, as they do where it is revoked: the record that says so they give it no more.

They drop its datagrams without a word, so that it soon knows no node; a request over TLS is refused with the reason.
"""

from p2pcore import names
from p2pcore.client.replicas import Replicas
from p2pcore.dht.contact import Contact
from p2pcore.errors import CertificateRefused
from p2pcore.records import DomainRecord, Resolve, Result


async def is_refused(replicas: Replicas, record: DomainRecord) -> bool:
    """Return whether more of the nodes that `record` lists refuse the certificate of `replicas` than answer."""
    listed = [Contact(each.node_id, each.host, each.port) for each in record.bootstrap]
    answers = await replicas.ask_all(listed, Resolve("domain", names.domain_identifier(record.domain)))
    refusals = sum(isinstance(answer, CertificateRefused) for answer in answers)
    return refusals > sum(isinstance(answer, Result) for answer in answers)
