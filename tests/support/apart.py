"""Runs a command in a network of its own, from which one address can be reached and nothing else.

A client that was given an address of somebody else fails there at once, which no look at a journal can show as well.
The one address is carried over a Unix socket: connections to it inside are continued outside.

usage: apart.py HOST PORT SOCKET COMMAND...   (inside, run by Apart)
"""

import fcntl
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

SIOCSIFFLAGS, UP_AND_RUNNING = 0x8914, 0x41


def carry(source, target):
    """Copy one direction of a connection to its end."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def relay(listener, connect):
    """Continue every connection that a listener accepts, until the listener is closed."""
    while True:
        try:
            inner, _ = listener.accept()
        except OSError:
            return
        try:
            outer = connect()
        except OSError:
            inner.close()
            continue
        threading.Thread(target=join, args=(inner, outer), daemon=True).start()


def join(inner, outer):
    """Carry both directions of a connection and close it."""
    with inner, outer:
        back = threading.Thread(target=carry, args=(outer, inner), daemon=True)
        back.start()
        carry(inner, outer)
        back.join()


def unix(path):
    """Return a connection to a Unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


class Apart:
    """The outer side: it knows the one address that can be reached."""

    def __init__(self, url):
        """Begin to carry connections to the host and port of a URL."""
        parts = urlsplit(url)
        self.address = parts.hostname, parts.port
        self.folder = tempfile.mkdtemp(prefix="apart-")
        self.path = str(Path(self.folder) / "s")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(128)
        outside = (self.listener, lambda: socket.create_connection(self.address))
        threading.Thread(target=relay, args=outside, daemon=True).start()

    @staticmethod
    def possible():
        """Tell whether this machine lets us make networks."""
        unshare = shutil.which("unshare")
        return bool(unshare) and subprocess.run([unshare, "-rn", "true"], capture_output=True).returncode == 0

    def command(self, command):
        """Return the command that runs another one apart."""
        host, port = self.address
        return ["unshare", "-rn", sys.executable, __file__, host, str(port), self.path, *map(str, command)]

    def __enter__(self):
        """Return this."""
        return self

    def __exit__(self, *_):
        """Carry no further connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        shutil.rmtree(self.folder)


def inside(host, port, path, *command):
    """Bring the empty network up, offer the one address in it, and run a command; return its status."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", UP_AND_RUNNING))
    listener = socket.create_server((host, int(port)), backlog=128)
    threading.Thread(target=relay, args=(listener, lambda: unix(path)), daemon=True).start()
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(inside(*sys.argv[1:]))
