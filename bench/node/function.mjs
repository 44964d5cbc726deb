// A WebSocket function in Node with the two clients that ws-default has: it takes the `connect` command, completes the
// connection's row and answers through `@connections`. The least of a runtime around it: Lambda's own does more.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { Agent, request } from "node:http";
import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient, UpdateItemCommand } from "@aws-sdk/client-dynamodb";

const table = process.env.CONNECTION_TABLE;
const dynamodb = new DynamoDBClient({});
const connections = new ApiGatewayManagementApiClient({ endpoint: process.env.CONNECTIONS_ENDPOINT });

function verified(token) {
  const [header, claims, signature] = token.split(".");
  const wanted = createHmac("sha256", process.env.TOKEN_HMAC_SECRET).update(`${header}.${claims}`).digest();
  if (!timingSafeEqual(wanted, Buffer.from(signature, "base64url"))) throw new Error("invalid token");
  return JSON.parse(Buffer.from(claims, "base64url"));
}

async function handle(event) {
  const id = event.requestContext.connectionId;
  const command = JSON.parse(event.body);
  const { sub } = verified(command.connect.token);
  const client = randomUUID();
  await dynamodb.send(new UpdateItemCommand({
    TableName: table,
    Key: { pk: { S: `conn#${id}` }, sk: { S: "conn" } },
    UpdateExpression: "SET #state = :ready, #user = :user, client = :client",
    ConditionExpression: "#state = :new",
    ExpressionAttributeNames: { "#state": "state", "#user": "user" },
    ExpressionAttributeValues: { ":new": { S: "new" }, ":ready": { S: "ready" }, ":user": { S: sub }, ":client": { S: client } },
  }));
  const reply = { id: command.id, connect: { client, version: "node" } };
  await connections.send(new PostToConnectionCommand({ ConnectionId: id, Data: Buffer.from(JSON.stringify(reply)) }));
  return { statusCode: 200 };
}

const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new Agent({ keepAlive: true });
function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path: `/2018-06-01/runtime/${path}`, agent }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ headers: response.headers, text }));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
for (;;) {
  const { headers, text } = await call("GET", "invocation/next");
  const id = headers["lambda-runtime-aws-request-id"];
  try {
    await call("POST", `invocation/${id}/response`, JSON.stringify(await handle(JSON.parse(text))));
  } catch (cause) {
    await call("POST", `invocation/${id}/error`, JSON.stringify({ errorMessage: String(cause.stack ?? cause) }));
  }
}
