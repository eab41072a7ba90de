# A session whose connection is idle for 4 s between two requests.
import time

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from settings import host, say, settings

session = requests.Session()
if "total" in settings:
    session.mount("http://", HTTPAdapter(max_retries=Retry(allowed_methods=None, **settings)))
try:
    session.post("http://%s/order" % host, data="x")
    time.sleep(4)
    print(session.post("http://%s/order" % host, data="x").text.strip())
except requests.exceptions.RequestException as e:
    say(e)
    raise SystemExit(1)
