"""The Python client of the 2026-07-28 era: lists tools, makes the calls it is given, prints JSON.

Usage: modern.py URL < calls.json   with the token in TOKEN; calls.json is [[tool, arguments], …].
       modern.py COMMAND ARGUMENT… < calls.json   to reach a server over stdio.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def transport(http: httpx2.AsyncClient):
    to, *arguments = sys.argv[1:]
    if to.startswith("http"):
        return streamable_http_client(to, http_client=http)
    env = {"COUNTERSIGN_TOKEN": os.environ["TOKEN"]}
    return stdio_client(StdioServerParameters(command=to, args=arguments, env=env))


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        async with Client(transport(http)) as client:
            listed = await client.list_tools()
            answers = []
            for tool, arguments in json.load(sys.stdin):
                try:
                    result = await client.call_tool(tool, arguments)
                    answers.append(
                        {
                            "is_error": result.is_error,
                            "text": result.content[0].text,
                            "structured": result.structured_content,
                        }
                    )
                except MCPError as error:
                    answers.append({"protocol_error": error.error.code, "text": error.error.message})
            print(
                json.dumps(
                    {
                        "protocol": client.protocol_version,
                        "tools": [tool.name for tool in listed.tools],
                        "cache_scope": listed.cache_scope,
                        "answers": answers,
                    }
                )
            )


asyncio.run(main())
