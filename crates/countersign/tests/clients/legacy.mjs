// The TypeScript client of the `initialize` era: lists tools, makes the calls it is given, prints
// JSON. Usage: node legacy.mjs URL < calls.json, with the token in TOKEN; or, to reach a server over
// stdio, node legacy.mjs COMMAND ARGUMENT… < calls.json.

import { readFileSync } from "node:fs";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [to, ...args] = process.argv.slice(2);
const transport = to.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(to), {
      requestInit: { headers: { Authorization: `Bearer ${process.env.TOKEN}` } },
    })
  : new StdioClientTransport({ command: to, args, env: { COUNTERSIGN_TOKEN: process.env.TOKEN } });
transport.setProtocolVersion ??= (version) => (transport.protocolVersion = version); // as over HTTP
const client = new Client({ name: "countersign-test", version: "1.0.0" });
await client.connect(transport);
const { tools } = await client.listTools();
const answers = [];
for (const [name, args] of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const result = await client.callTool({ name, arguments: args });
    answers.push({
      is_error: result.isError ?? false,
      text: result.content[0].text,
      structured: result.structuredContent,
    });
  } catch (error) {
    answers.push({ protocol_error: error.code, text: error.message });
  }
}
console.log(
  JSON.stringify({
    protocol: transport.protocolVersion,
    tools: tools.map((tool) => tool.name),
    answers,
  }),
);
await client.close();
