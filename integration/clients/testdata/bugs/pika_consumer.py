# A consumer that waits for a message, and connects again when it learns that its
# connection is dead. The message is published 3 s after it began to wait.
import threading
import time

import pika

from settings import host, say, settings

queue = "bugs-%d" % time.time_ns()


def connect(heartbeat):
    return pika.BlockingConnection(pika.ConnectionParameters(host, heartbeat=heartbeat))


def publish():
    time.sleep(3)
    connection = connect(0)
    connection.channel().basic_publish("", queue, b"work")
    connection.close()


consumer = connect(settings.get("heartbeat", 0))
consumer.channel().queue_declare(queue)
threading.Thread(target=publish, daemon=True).start()
while True:
    try:
        channel = consumer.channel()
        method, properties, body = next(channel.consume(queue))
        channel.basic_ack(method.delivery_tag)
        break
    except pika.exceptions.AMQPError as e:
        say(e)
        consumer = connect(0)
print("got", body.decode())
