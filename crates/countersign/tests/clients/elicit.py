"""The Python client of the 2026-07-28 era with a callback that answers whatever it is asked, as a
careless host does: makes the calls it is given, prints JSON.

Usage: elicit.py URL ACTION < calls.json   with the token in TOKEN; ACTION is accept, cancel, decline,
or form, which accepts with content that nobody asked for.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult


async def main() -> None:
    url, action = sys.argv[1:]
    asked = []

    async def answer(_context, params) -> ElicitResult:
        asked.append({"mode": params.mode, "message": params.message, "url": getattr(params, "url", None)})
        if action == "form":
            return ElicitResult(action="accept", content={"approve": True})
        return ElicitResult(action=action)

    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, elicitation_callback=answer) as client:
            answers = []
            for tool, arguments in json.load(sys.stdin):
                try:
                    result = await client.call_tool(tool, arguments)
                    answers.append({"is_error": result.is_error, "structured": result.structured_content})
                except Exception as error:  # noqa: BLE001: whatever it is, it is told
                    answers.append({"failed": f"{type(error).__name__}: {error}"})
            print(json.dumps({"asked": asked, "answers": answers}))


asyncio.run(main())
