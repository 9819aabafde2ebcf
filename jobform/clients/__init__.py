"""Clients of remote services: connections, time limits, retries and redaction. They know nothing of jobs."""
