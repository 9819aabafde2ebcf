"""Locks of open files (`flock`): the kernel frees them when their holder dies."""

import fcntl


def is_free(fd: int) -> bool:
    """Whether no other holds the file's lock for itself alone; what is taken for a moment to find out is given back."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True
