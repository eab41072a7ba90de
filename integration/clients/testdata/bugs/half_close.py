# A client that says by a half-close that its request is complete, or keeps its side open.
import socket

from settings import host, settings

with socket.create_connection((host, 80)) as s:
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    if settings.get("half_close", True):
        s.shutdown(socket.SHUT_WR)
    answer = b""
    while data := s.recv(4096):
        answer += data
print(answer.split(b"\r\n")[0].decode() or "end of stream without an answer")
raise SystemExit(not answer)
