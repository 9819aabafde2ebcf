"""The local backend: every attempt is a real process on this machine that outlives the command which started it."""
