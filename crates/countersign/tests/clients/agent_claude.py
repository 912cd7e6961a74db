"""An agent by Anthropic's SDK, as a team would start it: the message comes in, the answer goes out."""

import asyncio
import os
import sys

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

GATEWAY = {
    "type": "http",
    "url": os.environ["COUNTERSIGN_URL"],
    "headers": {"Authorization": "Bearer " + os.environ["COUNTERSIGN_TOKEN"]},
}
OPTIONS = ClaudeAgentOptions(
    mcp_servers={"countersign": GATEWAY},
    tools=[],
    allowed_tools=["mcp__countersign"],
    setting_sources=[],
    env={
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        # Tools are offered from the first turn on.
        "ENABLE_TOOL_SEARCH": "false",
        "MCP_CONNECTION_NONBLOCKING": "0",
    },
)


async def main():
    async for message in query(prompt=sys.stdin.read(), options=OPTIONS):
        if isinstance(message, ResultMessage):
            print(message.result)


asyncio.run(main())
