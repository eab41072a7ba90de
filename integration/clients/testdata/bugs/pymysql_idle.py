# A connection that is used, idle for 4 s, and used again. It is made anew if that fails.
import time

import pymysql

from settings import host, say, settings


def query():
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.fetchall()


connection = pymysql.connect(host=host, user="root", **settings)
query()
time.sleep(4)
try:
    query()
except pymysql.Error as e:
    say(e)
    connection.ping(reconnect=True)
    query()
print("fine")
