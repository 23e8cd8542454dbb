"""A node: keeps what others store, and answers Table 3."""
