"""The simulator: the same lookup, replication and repair code over a virtual network and clock (docs/scale.md)."""
