"""An MCP server that remembers what it was told, and defines what a file says at the moment.

Usage: stub.py DEFINITIONS [announce]   over stdio, of the older era. DEFINITIONS is a JSON object of
lists, as `tools`; with `announce` the client is told when the file has changed.
"""

import json
import os
import sys
import threading
import time

file = sys.argv[1]
told = []
lock = threading.Lock()


def send(message):
    with lock:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def announce():
    seen = os.stat(file).st_mtime_ns
    while True:
        time.sleep(0.02)
        now = os.stat(file).st_mtime_ns
        if now != seen:
            seen = now
            send({"method": "notifications/tools/list_changed"})


def called(name, arguments):
    if name == "remember":
        told.append(arguments["word"])
    text = " ".join(told) if name == "recall" else json.dumps(arguments)
    return {"content": [{"type": "text", "text": text}]}


def answer(method, params):
    if method == "initialize":
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "stub", "version": "1"},
        }
    if method == "tools/call":
        return called(params["name"], params.get("arguments", {}))
    if method == "ping":
        return {}
    lists = {"tools/list": "tools", "resources/list": "resources", "prompts/list": "prompts"}
    if method in lists:
        with open(file, encoding="utf-8") as opened:
            return {lists[method]: json.load(opened).get(lists[method], [])}
    return None


if "announce" in sys.argv[2:]:
    threading.Thread(target=announce, daemon=True).start()
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    result = answer(message["method"], message.get("params", {}))
    if result is None:
        send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
    else:
        send({"id": message["id"], "result": result})
