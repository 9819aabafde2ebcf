"""usage: launcher.py DESCRIPTOR COMMAND... - runs a command and writes to the descriptor: exit code, seconds, `ru_maxrss`.

A process begins as a copy of the one that starts it, and Linux counts that as its own memory even after it has become another
program: so whoever starts it has to be smaller than what is measured, and imports nothing that it can do without.
"""

import os
import signal
import sys
import time

answer = int(sys.argv[1])
os.set_inheritable(answer, False)
began = time.perf_counter()
process = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - began
os.write(answer, f"{os.waitstatus_to_exitcode(status)} {seconds} {usage.ru_maxrss}".encode())
