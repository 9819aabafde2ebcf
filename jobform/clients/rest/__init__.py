"""A client of JSON services over HTTP."""
