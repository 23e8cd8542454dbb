"""The agent's side of the network: watching an inbox, filing what arrives, cleaning up behind it."""
