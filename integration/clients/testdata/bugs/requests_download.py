# A download of 1 MiB, and a second attempt after an error.
import requests

from settings import host, say, settings


def download():
    response = requests.get("http://%s/large" % host, stream=True)
    response.raw.enforce_content_length = settings.get("enforce_content_length", False)
    return response.status_code, len(response.content)


try:
    status, size = download()
except requests.exceptions.RequestException as e:
    say(e)
    status, size = download()
print(status, "whole" if size == 1 << 20 else "and a part of the file")
if size < 1 << 20:
    raise SystemExit(1)
