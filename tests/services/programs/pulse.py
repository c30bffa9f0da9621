"""Asks a server for its health every 10 ms, tells of its first answer, and at its end the seconds that each took.

Plain sockets and no event loop: on a machine whose cores are all busy, a heavier client would measure itself.
"""

from __future__ import annotations

import signal
import socket
import sys
import time

times: list[float] = []


def ended(*_):
    """Print, and go."""
    sys.stdout.writelines(f"{took}\n" for took in times)
    sys.exit(0)


def main(port):
    """Ask until the end."""
    signal.signal(signal.SIGTERM, ended)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            began = time.perf_counter()
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b"}" not in answer:
                answer += connection.recv(65536)
            times.append(time.perf_counter() - began)
            if len(times) == 1:
                sys.stdout.write("answered\n")
                sys.stdout.flush()
            time.sleep(0.01)


if __name__ == "__main__":
    main(int(sys.argv[1]))
