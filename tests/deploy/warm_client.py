"""Has `warm_server.py` run a p2pmail command with this process's standard streams; ends with the command's exit code.

`python -I -S warm_client.py SOCKET ARGUMENTS…`: imports what starts in no time, nothing else.
"""

import json
import os
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        request = json.dumps({"arguments": sys.argv[2:], "directory": os.getcwd()})
        socket.send_fds(connection, [request.encode()], [0, 1, 2])
        code = connection.recv(1)
    sys.exit(code[0] if code else "warm_server.py has ended")
