"""Asking nodes: one node, or the k closest."""
