"""An MCP server as teams write them with FastMCP: results of every kind, resources and prompts.

Usage: fast.py   over stdio; or fast.py PORT   over Streamable HTTP on loopback, at /mcp.
"""

import sys
from typing import Literal

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.utilities.types import Audio, Image
from pydantic import BaseModel

server = FastMCP("fast")


class Parcel(BaseModel):
    id: str
    weight: float
    tags: list[str] = []


@server.tool
def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@server.tool
def scale(numbers: list[float], factor: float = 2.0) -> list[float]:
    """Each of them, multiplied."""
    return [number * factor for number in numbers]


@server.tool
def parcel(id: str, weight: float) -> Parcel:
    """A parcel, as structured content."""
    return Parcel(id=id, weight=weight, tags=["heavy"] if weight > 10 else [])


@server.tool
def parcels(count: int) -> list[Parcel]:
    """Several of them."""
    return [Parcel(id=f"p{number}", weight=number / 4) for number in range(count)]


@server.tool
def greet(name: str, tone: Literal["warm", "cold"] = "warm") -> str:
    """A greeting, in any script."""
    return f"{'Dear' if tone == 'warm' else 'To'} {name} \u2014 \u00fc\u4f60\U0001f600"


@server.tool
def nothing() -> None:
    """No content at all."""


@server.tool
def weigh(parcel: Parcel) -> float:
    """Takes an object."""
    return parcel.weight


@server.tool
def picture() -> Image:
    """An image."""
    return Image(data=b"\x89PNG\r\n\x1a\n", format="png")


@server.tool
def sound() -> Audio:
    """A sound."""
    return Audio(data=b"RIFF", format="wav")


@server.tool
def mixed() -> list:
    """A text and an image."""
    return ["beside it", Image(data=b"\x89PNG\r\n\x1a\n", format="png")]


@server.tool
def untyped(flag: bool) -> dict:
    """An object without a schema."""
    return {"flag": flag, "deep": {"list": [1, 2.5, None, "x"]}, "large": 9007199254740991}


@server.tool
def long_text(lines: int) -> str:
    """Many lines."""
    return "\n".join(f"line {number}" for number in range(lines))


@server.tool
def refuse(why: str) -> str:
    """Says that it failed."""
    raise ToolError(f"no: {why}")


@server.tool
def crash() -> str:
    """Fails without having meant to."""
    raise ZeroDivisionError("nobody caught it")


@server.tool
async def slow(steps: int, context: Context) -> str:
    """Reports progress and logs on its way."""
    for step in range(steps):
        await context.report_progress(step, steps)
    return f"{steps} steps"


@server.resource("fast://readme", mime_type="text/markdown")
def readme() -> str:
    """A text."""
    return "# Read me\n\nüöä"


@server.resource("fast://blob", mime_type="application/octet-stream")
def blob() -> bytes:
    """Bytes."""
    return bytes(range(256))


@server.resource("fast://parcels/{id}/label", mime_type="application/json")
def label(id: str) -> str:
    """A label by its number."""
    return f'{{"label": "{id}"}}'


@server.prompt
def ask(topic: str, tone: str = "calm") -> str:
    """Asks for something."""
    return f"Tell me about {topic}, in a {tone} tone."


@server.prompt
def plain() -> str:
    """Asks for nothing in particular."""
    return "Well?"


if len(sys.argv) > 1:
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="ERROR")
else:
    server.run(show_banner=False, log_level="ERROR")
