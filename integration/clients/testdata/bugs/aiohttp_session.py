# A session that makes two requests on one connection.
import asyncio

import aiohttp

from settings import host, say, settings


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**settings)) as session:
        for _ in range(2):
            async with session.get("http://" + host) as response:
                await response.read()
            await asyncio.sleep(0.2)


try:
    asyncio.run(main())
except aiohttp.ClientError as e:
    say(e)
    raise SystemExit(1)
print("fine")
