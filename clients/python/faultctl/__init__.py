"""TCP faults in Python tests.

    with faultctl.inject("reset", to="localhost:5432"):
        ...

The fault is in force inside of the block and gone behind it. A block in which it never
fired raises NeverFired. README.md says which faultctl does the work.
"""

from ._client import Client, Error, NeverFired, default_client
from ._fault import Fault, inject

__all__ = ["Client", "Error", "Fault", "NeverFired", "default_client", "inject"]
