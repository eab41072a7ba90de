"""The HTTP API of `faultctl serve`."""

import atexit
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

DEFAULT_SOCKET = "/run/faultctl.sock"


class Error(Exception):
    """What faultctl, or the way to it, refused.

    field is the word that it is about, such as "to", advice what to do about it, status
    the HTTP status and code the exit code that the command line would have. All but
    the message may be empty.
    """

    def __init__(self, message, field="", advice="", status=0, code=0):
        super().__init__(message + ("\n  " + advice if advice else ""))
        self.message, self.field, self.advice = message, field, advice
        self.status, self.code = status, code


class NeverFired(Error, AssertionError):
    """Nothing was learnt of a fault: the test has shown nothing about it."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """A faultctl that runs: the path of its unix socket, or its URL and token.

    Any thread may call its methods.
    """

    def __init__(self, address, token=None, timeout=30.0):
        self.address, self._token, self._timeout = address, token, timeout
        self._process = None
        self._host = None
        if "://" in address:
            url = urllib.parse.urlsplit(address)
            if url.scheme != "http" or not url.hostname or not url.port:
                raise Error(f"{address} is neither a path nor a URL such as http://127.0.0.1:8675")
            self._host = (url.hostname, url.port)

    @classmethod
    def start(cls, program=None):
        """Starts a faultctl of its own. It ends with this process, however that ends."""
        program = program or os.environ.get("FAULTCTL_BIN") or shutil.which("faultctl")
        if not program:
            raise Error(
                "there is no faultctl",
                advice=f"Install it, name its program in FAULTCTL_BIN, or start faultctl serve --socket {DEFAULT_SOCKET}.",
            )
        path = os.path.join(tempfile.gettempdir(), f"faultctl-{secrets.token_hex(8)}.sock")  # faultctl removes it
        environment = {k: v for k, v in os.environ.items() if k not in ("FAULTCTL_LISTEN", "FAULTCTL_TOKEN_FILE", "FAULTCTL_IDLE_EXIT")}
        said = tempfile.TemporaryFile()
        try:
            # Its input is a pipe that nobody writes to: it ends when this process does.
            process = subprocess.Popen(
                [program, "serve", "--socket", path, "--until-eof"],
                stdin=subprocess.PIPE, stdout=said, stderr=said, env=environment,
            )
        except OSError as e:
            said.close()
            raise Error(f"{program} cannot be started: {e.strerror}") from e
        client = cls(path)
        client._process = process
        atexit.register(client.close)
        deadline = time.monotonic() + 30
        with said:
            while not client.reachable():
                if process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                said.seek(0)
                text = said.read().decode(errors="replace").strip()
                client.close()
                raise Error(f"{program} serve does not answer: {text}")
        return client

    def reachable(self):
        """Whether somebody listens there whom this process may talk to."""
        try:
            c = self._connection()
            c.connect()
            c.close()
            return True
        except OSError:
            return False

    def close(self):
        """Ends the faultctl that start started; nothing for another."""
        if self._process:
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            atexit.unregister(self.close)

    def _connection(self):
        if self._host:
            return http.client.HTTPConnection(*self._host, timeout=self._timeout)
        return _UnixConnection(self.address, self._timeout)

    def call(self, method, path, body=None):
        """Makes a request and returns what the JSON of the answer says."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._token:
            headers["Authorization"] = "Bearer " + self._token
        connection = self._connection()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as e:
            raise Error(f"faultctl at {self.address} does not answer: {e}") from e
        finally:
            connection.close()
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = None
        if answer.status >= 300:
            problem = value if isinstance(value, dict) else {}
            several = problem.get("errors") or []
            raise Error(
                "\n".join(p["detail"] for p in several) or problem.get("detail") or f"{answer.status} {answer.reason}",
                problem.get("field", ""), problem.get("advice", ""), answer.status, problem.get("code", 0),
            )
        return value


_default = None
_lock = threading.Lock()


def default_client():
    """The faultctl that the environment names, or one that is started once.

    FAULTCTL_URL with FAULTCTL_TOKEN, or FAULTCTL_SOCKET; FAULTCTL_BIN is a program to
    start. Without any it is /run/faultctl.sock if that may be used, or else the
    faultctl on PATH.
    """
    global _default
    with _lock:
        if _default is None or (_default._process and (_default._process.poll() is not None or _default._owner != os.getpid())):
            _default = _choose()
            _default._owner = os.getpid()  # a forked child starts its own
        return _default


def _choose():
    environment = os.environ.get
    if environment("FAULTCTL_URL"):
        token = environment("FAULTCTL_TOKEN")
        if not token and environment("FAULTCTL_TOKEN_FILE"):
            with open(environment("FAULTCTL_TOKEN_FILE")) as f:
                token = f.read().strip()
        return Client(environment("FAULTCTL_URL"), token)
    if environment("FAULTCTL_SOCKET"):
        return Client(environment("FAULTCTL_SOCKET"))
    if not environment("FAULTCTL_BIN"):
        client = Client(DEFAULT_SOCKET)
        if client.reachable():
            return client
    return Client.start()
