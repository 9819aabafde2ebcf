"""One Kubernetes API server over HTTP: raw JSON in, raw JSON out, and errors that say what follows from them."""
