"""A process with p2pmail's modules imported, which forks for every command: many commands for one start of Python.

`python -m tests.deploy.warm_server SOCKET` prints a line when it listens; `warm_client.py` is what asks it.
"""

import json
import os
import signal
import socket
import sys

import gateway.administration
import gateway.founding
import gateway.joining  # noqa: F401 -- imported before the forks, not in each
from gateway import cli

MOST = 65_536  # octets of a command line and its working directory


def serve(path: str) -> None:
    """Answer on the Unix socket at `path` until killed; returns in each forked process, which then runs a command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch over a command
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(socket.SOMAXCONN)
        print("listening", flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command != 0:
        _, status = os.waitpid(command, 0)
        connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
        os._exit(0)
    _take_over(connection)


def _take_over(connection: socket.socket) -> None:
    """Become the process that the client was called as: its arguments, directory and standard streams."""
    with connection:
        content, descriptors, _, _ = socket.recv_fds(connection, MOST, 3)
    request = json.loads(content)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["directory"])
    sys.argv = ["p2pmail", *request["arguments"]]


if __name__ == "__main__":
    serve(sys.argv[1])
    cli.main()
