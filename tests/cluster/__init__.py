"""A real Kubernetes for tests, on one machine: `python -m tests.cluster up`. CONTRIBUTING.md says how to use it."""
