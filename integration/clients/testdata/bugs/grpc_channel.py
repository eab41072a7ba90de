# gRPC's C core: calls on a channel whose connection dies.
import time

import grpc

from settings import host, settings

channel = grpc.insecure_channel(host + ":50051", options=[("grpc." + name, value) for name, value in settings.items()])
check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
check(b"")
time.sleep(2)
for _ in range(2):
    try:
        check(b"")
        print("fine")
        break
    except grpc.RpcError as e:
        print(e.code().name + ": " + e.details(), flush=True)
else:
    raise SystemExit(1)
