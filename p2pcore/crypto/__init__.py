"""Cryptography of the network: the only package that imports cryptography."""
