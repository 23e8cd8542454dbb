"""The Kademlia network: contacts, signed datagrams, lookup."""
