"""http.client: client.py HOST PORT PLAY PATH PAUSE LIMIT"""

import http.client
import socket
import sys
import time

host, port, play, path, pause, limit = sys.argv[1:]
c = http.client.HTTPConnection(host, int(port), timeout=float(limit))
try:
    for again in range(2 if play == "call" else 1):
        if again:
            time.sleep(float(pause))
        if play == "wait":
            c.connect()
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if play == "upload":
            c.request("POST", path, body=b"x" * (8 << 20))
        else:
            c.request("GET", path)
        answer = c.getresponse()
        answer.read()
        if answer.status != 200:
            print("HTTP", answer.status)
    print("fine")
except Exception as e:
    print(f"{type(e).__module__}.{type(e).__name__}: {e}".removeprefix("builtins."))
