# An upload to a server that answers at once that it is too large, and closes.
import requests

from settings import host, say

try:
    print(requests.post("http://%s/early" % host, data=b"x" * (8 << 20)).status_code)
except requests.exceptions.RequestException as e:
    say(e)
    raise SystemExit(1)
