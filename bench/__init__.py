"""Measures p2pmail beside a private Postfix and Dovecot."""
