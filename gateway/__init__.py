"""The legacy side: makes the peer-to-peer network look like an ordinary mail domain and IMAP account."""
