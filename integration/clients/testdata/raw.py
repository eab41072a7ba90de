"""A plain socket: raw.py HOST PORT PLAY PATH PAUSE LIMIT

Each line that it prints is a call that failed, or what came instead of data,
or: fine.
"""

import socket
import sys
import time

host, port, play, path, pause, limit = sys.argv[1:]
head = f"{'POST' if play == 'upload' else 'GET'} {path} HTTP/1.1\r\nHost: server\r\n"


def attempt(name, call):
    """Makes a call; returns its result, or None after it has told the error."""
    try:
        return call()
    except OSError as e:
        print(f"{name}: {type(e).__name__}: {e}")


def read(s, name="read"):
    data = attempt(name, lambda: s.recv(1 << 16))
    if data == b"":
        print(f"{name}: end of stream")
    return data


def read_or_tell(s):
    """Reads. If nothing comes, shows what writing says from then on."""
    data = read(s)
    if data == b"":
        if attempt("then write", lambda: s.send(b"x" * 100)):
            time.sleep(0.5)  # the answer to it shows at the next call
            attempt("then write", lambda: s.send(b"x" * 100))
    elif data is None and time.monotonic() - start < s.gettimeout():
        attempt("then write", lambda: s.send(b"x" * 100))
    return data


def write(s, data):
    try:
        s.sendall(data)
        return True
    except OSError as e:
        print(f"write: {type(e).__name__}: {e}")
        if not isinstance(e, TimeoutError):
            answer = read(s, "then read")
            if answer:
                print("then read: " + answer.decode().splitlines()[0])
        return False


s = attempt("connect", lambda: socket.create_connection((host, int(port)), float(limit)))
if s is None:
    sys.exit(1)
start = time.monotonic()
fine = False
if play == "wait":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
if play == "upload":
    size = 8 << 20
    if write(s, f"{head}Content-Length: {size}\r\n\r\n".encode() + b"x" * size):
        fine = bool(read_or_tell(s))
elif play == "end":
    data = write(s, f"{head}\r\n".encode())
    while data:
        data = attempt("read", lambda: s.recv(1 << 16))
    fine = data == b""
else:
    for again in range(1 if play == "wait" else 2):
        if again:
            time.sleep(float(pause))
        start = time.monotonic()
        fine = write(s, f"{head}\r\n".encode()) and bool(read_or_tell(s))
        if not fine:
            break
if fine:
    print("fine")
