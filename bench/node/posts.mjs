// Posts with the AWS SDK for JavaScript over one keep-alive agent, and prints the CPU microseconds of those after the warm-up.
import { Agent } from "node:http";
import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const [warm, count, atOnce] = process.argv.slice(2).map(Number);
const client = new ApiGatewayManagementApiClient({
  endpoint: process.env.CONNECTIONS_ENDPOINT,
  requestHandler: new NodeHttpHandler({ httpAgent: new Agent({ keepAlive: true, maxSockets: atOnce }) }),
});
const data = { n: 1, at: Date.now() * 1000, text: "a chat message of the usual length, neither the shortest nor the longest that people write",
  author: { id: 4711, name: "Anna Example" } };
const frame = Buffer.from(JSON.stringify({ push: { channel: "stream:a", pub: { data, offset: 1 } } }));

async function posts(total) {
  let next = 0;
  const one = async () => {
    while (next < total) {
      const id = `${String(next++).padStart(8, "0")}Lbench=`;
      await client.send(new PostToConnectionCommand({ ConnectionId: id, Data: frame }));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

await posts(warm);
const before = process.cpuUsage();
await posts(count);
const { user, system } = process.cpuUsage(before);
console.log(`=> ${user + system}`);
process.exit(0);
