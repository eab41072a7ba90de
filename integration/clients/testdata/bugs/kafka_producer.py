# librdkafka's producer, whose connection is idle for 8 s between two messages.
import time

from confluent_kafka import Producer

from settings import host, settings

failed = []


def delivered(error, message):
    if error:
        failed.append(error)
        print(error.str(), flush=True)


producer = Producer({
    "bootstrap.servers": host + ":9092", "log_level": 0, "message.timeout.ms": 5000, "topic.metadata.refresh.interval.ms": -1,
    "log.connection.close": False, **{name.replace("_", "."): value for name, value in settings.items()}})
producer.produce("bugs", b"first", callback=delivered)
producer.flush()
time.sleep(8)
producer.produce("bugs", b"second", callback=delivered)
producer.flush()
if failed:
    raise SystemExit(1)
print("delivered")
