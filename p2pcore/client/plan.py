"""What k buys and costs: the paper's loss terms (§4) beside what widening, repair and the quorum make of them. Pure."""

from dataclasses import dataclass

from p2pcore import availability, params
from p2pcore.client.placement import widened
from p2pcore.crypto.sealing import sealed_size
from p2pcore.records import EntryStatement, ObjectStatement, Proof, SignedStatement, encode

_KEY = bytes(params.KEY_SIZE)
_TIME = 1 << 41  # any time of this century takes as many octets
_PROOF = Proof(1, 0, (), bytes(64))
_SEALED_NOTIFICATION = 1_305  # octets: its key in HPKE, that key's algorithm and recipient, nonce and tag


@dataclass(frozen=True, slots=True)
class Question:
    """What is planned for. `up`: a node is up with this probability; `target` for an action of so many operations.

    `nodes` and `joining` are the paper's I and N (0: as many as k, which is what Table 2 counts).
    """

    up: float
    target: float = params.AVAILABILITY_TARGET
    operations: int = params.AVAILABILITY_OPERATIONS
    nodes: int = 1_000
    joining: int = 0
    size: int = 8 << 10
    recipients: int = 1


@dataclass(frozen=True, slots=True)
class Loss:
    """Terms (1), (2) and (3) as printed in the paper, and exactly, each for one read."""

    all_down: float
    risen_closer: float
    joined_closer: float
    k_asked: float  # exact, all causes: the k closest are asked
    widened_asked: float  # exact, all causes: twice as many are asked, as bodies are


@dataclass(frozen=True, slots=True)
class Cost:
    """Octets for one message: of one copy of its body and of an entry; on all nodes together until it is read; sent.

    What is sent does not count deletes and acknowledgements (some 200 octets a node), TLS and lookups.
    """

    body: int
    entry: int
    stored: int
    sent: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. `exact` is equation (6) before rounding up; `reached` what an action of `k` copies reaches, (5)."""

    question: Question
    exact: float
    k: int
    w: int
    reached: float
    loss: Loss
    cost: Cost
    quorum: float  # probability that at least w of all nodes are up
    possible: bool  # k is no more than MAX_K and than the nodes there are
    most: int  # the largest possible k
    with_most: float  # what an action reaches with that


def plan(question: Question) -> Plan:
    """Return k by equation (6), and what it means."""
    exact = availability.copies(question.up, question.target, question.operations)
    k = availability.copies_needed(question.up, question.target, question.operations)
    w = majority(k)
    most = min(params.MAX_K, question.nodes)
    return Plan(
        question=question,
        exact=exact,
        k=k,
        w=w,
        reached=availability.action_succeeds(question.up, k, question.operations),
        loss=_loss(question, k),
        cost=_cost(question, k),
        quorum=availability.write_finds_quorum(question.up, question.nodes, w) if w <= question.nodes else 0.0,
        possible=k <= most,
        most=most,
        with_most=availability.action_succeeds(question.up, most, question.operations),
    )


def majority(k: int) -> int:
    """Return the least w that is allowed with `k` (k/2 < w)."""
    return k // 2 + 1


def _loss(question: Question, k: int) -> Loss:
    up, nodes = question.up, question.nodes
    joining = question.joining or k

    def fails(width: int) -> float:
        if width >= nodes + joining:  # every node there is
            return availability.all_down(up, k)
        return availability.read_fails(up, k, width, joining / nodes)

    return Loss(
        all_down=availability.all_down(up, k),
        risen_closer=availability.risen_closer(up, k, nodes),
        joined_closer=availability.joined_closer(k, nodes, joining),
        k_asked=fails(k),
        widened_asked=fails(widened(k)),
    )


def _cost(question: Question, k: int) -> Cost:
    """Return what one body and one entry per recipient take; the body is fetched once for each of them."""
    body = sealed_size(question.size) + _object_overhead(question.recipients)
    entry = _entry_size()
    stored = k * (body + question.recipients * entry)
    read = question.recipients * (k * entry + body)
    return Cost(body, entry, stored, stored + read)


def _object_overhead(recipients: int) -> int:
    rights = (_KEY,) * min(recipients, params.MAX_DELETE_RIGHTS)
    statement = ObjectStatement(_KEY, _KEY, params.INLINE_BODY, _TIME, _TIME, rights, _KEY)
    return len(encode(SignedStatement(statement, _PROOF)))


def _entry_size() -> int:
    notification = bytes(params.NOTIFICATION_CLASSES[0] + _SEALED_NOTIFICATION)
    return len(encode(SignedStatement(EntryStatement(_KEY, notification, _TIME, _TIME, _KEY), _PROOF)))
