"""The peer-to-peer side: sealed objects, nodes, inboxes and certificates; knows neither SMTP nor IMAP."""
