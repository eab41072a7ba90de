# A call of AWS Lambda whose answer takes 6 s, the server being one of this test.
import boto3
import botocore.config
import botocore.exceptions

from settings import host, say, settings

config = botocore.config.Config(retries={"total_max_attempts": 1}, **settings)
client = boto3.client("lambda", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x", endpoint_url="http://" + host, config=config)
client.meta.events.register("before-send.lambda", lambda request, **_: setattr(request, "url", "http://%s/slow" % host))
try:
    print(client.invoke(FunctionName="slow")["Payload"].read().decode())
except botocore.exceptions.BotoCoreError as e:
    say(e)
    raise SystemExit(1)
