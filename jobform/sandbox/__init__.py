"""Stateful servers of the remote services on loopback: for trying job files without an account, and for tests."""
