# SQLAlchemy's pool with psycopg2: a connection that is idle for 4 s.
import time

import sqlalchemy

from settings import host, say, settings

pre_ping = settings.pop("pool_pre_ping", False)
engine = sqlalchemy.create_engine(
    "postgresql+psycopg2://postgres@%s/postgres?sslmode=disable" % host, pool_size=1, max_overflow=0, pool_pre_ping=pre_ping, connect_args=settings)


def query():
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select 1")).all()


query()
time.sleep(4)
try:
    query()
except sqlalchemy.exc.DBAPIError as e:
    say(e.orig)
    raise SystemExit(1)
print("fine")
