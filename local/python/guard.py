"""Runs a command that ends when whoever started this ends.

Standard input is a pipe whose other end only the starter holds. When the starter dies, by SIGKILL too, the kernel closes
it: the command is asked to stop, and killed when it does not. This works where PR_SET_PDEATHSIG does not: on macOS, and
when the starter's thread ends before the starter does.

    guard.py [--signal INT] [--grace SECONDS] [--user NAME] [--cwd DIR] -- COMMAND...
"""

import argparse
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
import time


def die_with_guard():
    """Should the guard itself be killed, the kernel stops the command (Linux only)."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(1, STOP)  # PR_SET_PDEATHSIG
    except (AttributeError, OSError):
        pass


arguments = argparse.ArgumentParser()
arguments.add_argument("--signal", default="TERM")
arguments.add_argument("--grace", type=float, default=10.0)
arguments.add_argument("--user")
arguments.add_argument("--cwd")
arguments.add_argument("command", nargs="+")
options = arguments.parse_args()
STOP = getattr(signal, "SIG" + options.signal)

identity = {}
if options.user:
    account = pwd.getpwnam(options.user)
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

# These reach us only from outside (our process group is our own): they mean the same as the end of the pipe.
stop_wanted = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda *_: stop_wanted.set())

child = subprocess.Popen(
    options.command, stdin=subprocess.DEVNULL, cwd=options.cwd, preexec_fn=die_with_guard, **identity
)


def watch_starter():
    while os.read(0, 4096):
        pass
    stop_wanted.set()


def stop_child():
    stop_wanted.wait()
    child.send_signal(STOP)
    time.sleep(options.grace)
    child.kill()


for work in (watch_starter, stop_child):
    threading.Thread(target=work, daemon=True).start()

# wait() in short slices: a signal handler only runs when the main thread is back in Python.
while True:
    try:
        code = child.wait(timeout=0.5)
        break
    except subprocess.TimeoutExpired:
        continue
sys.stdout.flush()
os._exit(code if code >= 0 else 128 - code)
