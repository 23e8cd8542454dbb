"""The SMTP servers: mail from outside is stored on the network, mail from our own users in an outbox or a queue."""
