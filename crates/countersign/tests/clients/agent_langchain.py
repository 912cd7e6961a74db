"""An agent by LangChain with its MCP adapters: the message comes in, the answer goes out.

Usage: agent_langchain.py anthropic|openai
"""

import asyncio
import os
import sys

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI

GATEWAY = {
    "transport": "streamable_http",
    "url": os.environ["COUNTERSIGN_URL"],
    "headers": {"Authorization": "Bearer " + os.environ["COUNTERSIGN_TOKEN"]},
}


async def main():
    model = {"anthropic": ChatAnthropic, "openai": ChatOpenAI}[sys.argv[1]](model="scripted")
    tools = await MultiServerMCPClient({"countersign": GATEWAY}).get_tools()
    asked = {"messages": [{"role": "user", "content": sys.stdin.read()}]}
    print((await create_agent(model, tools).ainvoke(asked))["messages"][-1].text)


asyncio.run(main())
