# A pool with one connection, which is idle for 4 s.
import time

import redis

from settings import host, settings

client = redis.Redis(host=host, max_connections=1, **settings)
client.ping()
time.sleep(4)
client.set("key", "value")
print("fine")
