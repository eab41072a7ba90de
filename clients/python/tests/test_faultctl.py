"""Tests of the package against a real faultctl, in a network namespace of their own."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import faultctl
import pytest

PACKAGE = str(pathlib.Path(__file__).resolve().parent.parent)


class Echo:
    """A service that returns what it is sent."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.at = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        with connection:
            try:
                while data := connection.recv(100):
                    connection.sendall(data)
            except OSError:
                pass

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as s:
            s.sendall(b"hello")
            return s.recv(100)


@pytest.fixture
def echo():
    service = Echo()
    yield service
    service.listener.close()


@pytest.fixture
def shared(tmp_path):
    """A faultctl that does not belong to the process that uses it."""
    path = str(tmp_path / "s")
    p = subprocess.Popen([os.environ["FAULTCTL_BIN"], "serve", "--socket", path, "--until-eof"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    client = faultctl.Client(path)
    until(client.reachable)
    yield client
    p.stdin.close()
    p.wait(20)


def until(holds, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


def struck(echo):
    try:
        echo.ask()
        return False
    except ConnectionResetError:
        return True


def test_block(echo):
    assert not struck(echo)
    with faultctl.inject("reset", to=echo.at) as fault:
        assert struck(echo)
        fault.wait_fired(1)
    assert not struck(echo)
    assert fault.result["end"] == "stopped" and fault.fired == 1


def test_never_fired(echo):
    with pytest.raises(faultctl.NeverFired, match="reset never fired") as e:
        with faultctl.inject("reset", to=echo.at):
            pass
    assert "allow_idle" in e.value.advice and isinstance(e.value, AssertionError)
    with faultctl.inject("reset", to=echo.at, allow_idle=True):
        pass


def test_failure_inside_is_kept(echo):
    with pytest.raises(ZeroDivisionError):
        with faultctl.inject("reset", to=echo.at):
            1 / 0
    assert not struck(echo)


def test_changes(echo):
    with faultctl.inject("reset", to=echo.at) as fault:
        assert struck(echo)
        fault.pause()
        assert not struck(echo)
        fault.resume()
        assert struck(echo)
        fault.update(percent=0)
        assert not struck(echo)


def test_several(echo):
    with faultctl.inject(["delay:by=20ms", "reset:at=request=2"], to=echo.at, first=1, allow_idle=True):
        begun = time.monotonic()
        assert echo.ask() == b"hello" and time.monotonic() - begun >= 0.04


@pytest.mark.parametrize("fault, words, field, says", [
    ("rset", {"to": ":1"}, "fault", 'did you mean "reset"'),
    ("reset", {"to": ":1", "percent": 400}, "percent", "from 0 to 100"),
    ("reset", {"to": ":1", "colour": "red"}, "colour", "unknown key"),
    ("reset", {"to": ":1", "pcap": "/tmp/x"}, "pcap", "Leave it out"),
    ("reset", {}, "to", "Name the service"),
    ("reset", {"to": ":1", "lease": 0.1}, "lease", "at least a second"),
])
def test_errors(fault, words, field, says):
    with pytest.raises(faultctl.Error, match=says) as e:
        with faultctl.inject(fault, **words):
            pass
    assert e.value.field == field


def test_lease_is_renewed(echo):
    with faultctl.inject("reset", to=echo.at, lease=6.0) as fault:
        first = fault._now()["lease"]
        until(lambda: fault._now()["lease"] > first)
        assert struck(echo)


def test_lease_that_is_lost(echo):
    fault = faultctl.inject("reset", to=echo.at, lease=1.0)
    fault._renew = lambda: None
    with pytest.raises(faultctl.Error, match="did not renew its lease"):
        with fault:
            until(lambda: not struck(echo))


CHILD = """
import sys, time
import faultctl
with faultctl.inject("reset", to=sys.argv[1], lease=4.0):
    print("in force", faultctl.default_client().address, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("own", [True, False])
def test_killed(echo, shared, own):
    environment = dict(os.environ, PYTHONPATH=PACKAGE)
    if not own:
        environment["FAULTCTL_SOCKET"] = shared.address
    child = subprocess.Popen([sys.executable, "-c", CHILD, echo.at], stdout=subprocess.PIPE, text=True, env=environment)
    *_, address = child.stdout.readline().split()
    assert (address == shared.address) is not own
    assert struck(echo)
    child.send_signal(signal.SIGKILL)
    child.wait()
    until(lambda: not struck(echo))
    if own:
        until(lambda: not faultctl.Client(address).reachable())
    else:
        until(lambda: shared.call("GET", "/v1/experiments")["experiments"] == [])


def test_url_and_token(echo, tmp_path, monkeypatch):
    token = tmp_path / "token"
    p = subprocess.Popen(
        [os.environ["FAULTCTL_BIN"], "serve", "--listen", "127.0.0.1:8675", "--token-file", str(token), "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert "http://127.0.0.1:8675" in p.stdout.readline()
    client = faultctl.Client("http://127.0.0.1:8675", token.read_text().strip())
    with faultctl.inject("reset", to=echo.at, client=client):
        assert struck(echo)
    with pytest.raises(faultctl.Error, match="token is missing") as e:
        faultctl.Client("http://127.0.0.1:8675", "guess").call("GET", "/v1/process")
    assert e.value.status == 401
    p.stdin.close()
    p.wait(20)


def test_no_faultctl(monkeypatch, tmp_path):
    with pytest.raises(faultctl.Error, match="cannot be started: No such file"):
        faultctl.Client.start(str(tmp_path / "none"))
    with pytest.raises(faultctl.Error, match="does not answer"):
        faultctl.Client.start("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FAULTCTL_BIN")
    with pytest.raises(faultctl.Error, match="FAULTCTL_BIN"):
        faultctl.Client.start()


@pytest.mark.parametrize("fired, code", [(True, 0), (False, 1)])
def test_fixture(echo, tmp_path, fired, code):
    (tmp_path / "test_it.py").write_text(textwrap.dedent(f"""
        import socket
        import pytest

        def test_it(faultctl_inject):
            faultctl_inject("reset", to="{echo.at}")
            if {fired}:
                with socket.create_connection(("127.0.0.1", {echo.port})) as s, pytest.raises(ConnectionResetError):
                    s.sendall(b"hello")
                    s.recv(100)
        """))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "faultctl.pytest_plugin", str(tmp_path)],
        env=dict(os.environ, PYTHONPATH=PACKAGE), capture_output=True, text=True,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert fired or "reset never fired" in ran.stdout
    assert not struck(echo)
