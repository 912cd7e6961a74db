"""An MCP server of the older era that defines what a saved answer lists, one thing a page."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    defined = json.load(file)["result"]

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}

for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    said = {"jsonrpc": "2.0", "id": asked["id"]}
    params = asked.get("params") or {}
    if asked["method"] == "initialize":
        said["result"] = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}, "prompts": {}, "resources": {}},
            "serverInfo": {"name": "tracker", "version": "1"},
        }
    elif asked["method"] in LISTS:
        key = LISTS[asked["method"]]
        at = int(params.get("cursor") or 0)
        said["result"] = {key: defined[key][at : at + 1]}
        if at + 1 < len(defined[key]):
            said["result"]["nextCursor"] = str(at + 1)
    else:
        said["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(said), flush=True)
