"""A fixture for pytest."""

import contextlib

import pytest

from ._client import NeverFired
from ._fault import inject


@pytest.fixture
def faultctl_inject():
    """Faults until the end of the test: faultctl_inject("reset", to="localhost:5432").

    It takes what faultctl.inject takes. The test fails if a fault never fired.
    """
    with contextlib.ExitStack() as faults:
        try:
            yield lambda *args, **words: faults.enter_context(inject(*args, **words))
            faults.close()
        except NeverFired as e:
            pytest.fail(str(e), pytrace=False)
