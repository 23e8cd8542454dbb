"""The domain's machines as `p2pmail machine list` shows them: role, name, endpoint, certificate."""

from typing import Any

from p2pcore.directory.directory import Directory


def listed(directory: Directory) -> list[dict[str, Any]]:
    """Return the directory itself and every gateway and node that the domain lists, as plain values; times in ms."""
    own = directory.signer.certificate
    listed_machines = [machine for machine in directory.machines() if machine.state == "active"]
    return [
        _row(own.role, directory.domain, "", own.node_id, own.not_after),
        *(
            _row(each.role, each.name, str(each.endpoint), each.node_id, directory.certificate_of(each).not_after)
            for each in listed_machines
        ),
    ]


def _row(role: str, name: str, endpoint: str, node_id: bytes, expires: int) -> dict[str, Any]:
    return {"role": role, "name": name, "endpoint": endpoint, "node_id": node_id.hex(), "expires": expires}
