"""`headrace` as a fork of the process that has everything loaded (see warm), for those who start it by its name.

It gives its own words, environment, folder and files away, passes signals on, and ends as the command ends.
"""

import json
import os
import signal
import socket
import sys

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
env = dict(os.environ)  # noqa: TID251  (it is given away whole)
request = {"words": sys.argv[1:], "cwd": os.getcwd(), "env": env}  # noqa: PTH109  (pathlib would take longer to load)
with socket.socket(fileno=int(env["FORKS_OF_HEADRACE"])) as loaded, theirs:
    socket.send_fds(loaded, [json.dumps(request).encode()], [0, 1, 2, theirs.fileno()])
pid = int(ours.recv(20))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _frame: os.kill(pid, number))
code = int(ours.recv(20))
sys.exit(code if code >= 0 else 128 - code)
