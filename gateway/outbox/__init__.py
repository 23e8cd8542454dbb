"""The agent's durable outgoing mail: P2P recipients by itself, the rest to a gateway of the domain."""
