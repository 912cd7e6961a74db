"""An agent by OpenAI's SDK, as a team would start it: the message comes in, the answer goes out."""

import asyncio
import os
import sys

from agents import Agent, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp

GATEWAY = {
    "url": os.environ["COUNTERSIGN_URL"],
    "headers": {"Authorization": "Bearer " + os.environ["COUNTERSIGN_TOKEN"]},
}


async def main():
    set_tracing_disabled(True)
    async with MCPServerStreamableHttp(params=GATEWAY) as gateway:
        agent = Agent(name="support", mcp_servers=[gateway])
        print((await Runner.run(agent, sys.stdin.read())).final_output)


asyncio.run(main())
