// What may stand in front of Zabbix's frontend: a proxy that passes everything on, or answers as bad ones do.
import { once } from "node:events";
import { createServer } from "node:http";

const LARGE = 50 * 1024 * 1024;

/**
 * Listens on loopback. `be(manner)`: `honest`, `html` (a page of its own), `half` (the answer ends in its middle), `large` (50 MB),
 * `bad gateway` (502) or `ahead` (an honest answer, dated ten minutes ahead). `asked(method)`: how often.
 */
export async function startFront(zabbix, port) {
  let manner = "honest";
  const asked = new Map();
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const [, method = ""] = /"method":"([a-z.]+)"/.exec(Buffer.concat(parts).toString()) ?? [];
    asked.set(method, (asked.get(method) ?? 0) + 1);
    response.on("error", () => {});
    if (manner === "html") return response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>Sign in to continue</title>");
    if (manner === "bad gateway") return response.writeHead(502, { "content-type": "text/html" }).end("<h1>502 Bad Gateway</h1>");
    if (manner === "large") return response.writeHead(200, { "content-type": "application/json" }).end(`{"jsonrpc":"2.0","id":1,"result":["${"x".repeat(LARGE)}"]}`);
    const { "content-type": type, authorization } = request.headers;
    try {
      const headers = { "content-type": type ?? "", ...(authorization && { authorization }) };
      const answer = await fetch(`${zabbix}${request.url}`, { method: request.method, headers, body: request.method === "POST" ? Buffer.concat(parts) : undefined });
      const body = Buffer.from(await answer.arrayBuffer());
      const date = manner === "ahead" ? new Date(Date.now() + 600_000) : new Date();
      response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "application/json", date: date.toUTCString() });
      return response.end(manner === "half" ? body.subarray(0, body.length / 2) : body);
    } catch {
      return response.writeHead(504).end();
    }
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return { be: (next) => { manner = next; }, asked: (method) => asked.get(method) ?? 0, close: () => server.close() && server.closeAllConnections() };
}
