"""A fault that is in force inside of a block."""

import re
import secrets
import threading
import time
import urllib.parse

from ._client import Error, NeverFired, default_client

# Words of a run that are about which connections; the others stand beside them.
_TARGET = ("to", "from", "netns", "pid", "container", "cgroup", "uid", "percent", "every", "first", "skip", "max-connections", "new-only")
_NAMES = ("to", "from", "netns", "container", "cgroup", "uid")


def inject(fault, *, to=None, allow_idle=False, lease=15.0, client=None, **words):
    """A fault for the with statement.

    fault is a SPEC as on faultctl's command line, such as "delay:by=50ms", or a list of
    them. to names the service, such as "localhost:5432"; other words of a run are named
    likewise, with underscores: from_=, percent=20, first=1, new_only=True. One that says
    which connections there must be.

    With allow_idle the fault need not fire. lease is after how many seconds the fault
    ends if this process hangs or is killed; it is renewed in the background.
    """
    return Fault(fault, dict(words, to=to), allow_idle, lease, client)


class Fault:
    """A fault, made by inject. The with statement begins and ends it."""

    def __init__(self, fault, words, allow_idle, lease, client):
        target, spec = {}, {"fault": fault}
        for word, value in words.items():
            if value is not None:
                word = word.rstrip("_").replace("_", "-")
                (target if word in _TARGET else spec)[word] = value
        if not any(word in target for word in _NAMES):
            raise Error("no connections are named", "to", 'Name the service: to="localhost:5432".')
        if lease < 1:
            raise Error("a lease is at least a second", "lease")
        spec["target"] = target
        names = fault if isinstance(fault, str) else "+".join(fault)
        self.name = re.sub(r"[^A-Za-z0-9._-].*", "", names)[:40] + "-" + secrets.token_hex(6)
        self._spec, self._allow_idle, self._lease, self._client = spec, allow_idle, lease, client
        self._path = "/v1/experiments/" + urllib.parse.quote(self.name)
        self._ended, self._renewer = threading.Event(), None
        self.result = None  # how it ended, as the API says

    def __enter__(self):
        self._client = self._client or default_client()
        self._client.call("PUT", f"{self._path}?lease={int(self._lease * 1000)}ms", self._spec)
        self._renewer = threading.Thread(target=self._renew, name="faultctl " + self.name, daemon=True)
        self._renewer.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None:  # else the test has failed already
            self.judge()

    def _renew(self):
        while not self._ended.wait(self._lease / 3):
            try:
                self._client.call("POST", self._path + "/renew")
            except Error as e:
                if e.status:
                    return  # it has ended; stop says how

    def stop(self):
        """Ends the fault. Everything is as it was before when it returns."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._renewer:
            self._renewer.join(self._lease)
        self.result = self._client.call("DELETE", self._path + "?wait=true")

    def judge(self):
        """Raises NeverFired if the fault, once stopped, turns out to have shown nothing."""
        end = self.result["end"]
        if end in ("lease", "error"):
            why = self.result.get("error") or "this process did not renew its lease in time"
            raise Error(f"{self.name} ended before the block did: {why}", "lease" if end == "lease" else "")
        idle = [j.get("why") or f"{j['fault']}: {j['verdict']}" for j in self.result.get("judged") or [] if j["idle"]]
        if idle and not self._allow_idle:
            raise NeverFired("\n".join(idle), advice="If the fault need not fire, pass allow_idle=True.")

    def _now(self):
        return self.result or self._client.call("GET", self._path)

    @property
    def fired(self):
        """On how many connections the fault has acted so far."""
        return self._now()["counts"]["fired"]

    def wait_fired(self, count=1, timeout=10.0):
        """Waits until the fault has acted on so many connections."""
        deadline = time.monotonic() + timeout
        while self.fired < count:
            if time.monotonic() > deadline:
                raise NeverFired(f"{self.name} did not act on {count} connections within {timeout} s")
            time.sleep(0.01)

    def update(self, **words):
        """Changes the fault while it is in force, such as percent=20."""
        target, spec = {}, {}
        for word, value in words.items():
            word = word.rstrip("_").replace("_", "-")
            (target if word in _TARGET else spec)[word] = value
        if target:
            spec["target"] = target
        self._client.call("PATCH", self._path, spec)

    def pause(self):
        """Lets packets pass until resume."""
        self._client.call("POST", self._path + "/pause")

    def resume(self):
        """Ends a pause: the next matching packet is judged."""
        self._client.call("POST", self._path + "/resume")
