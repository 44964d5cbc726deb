// Puts the built board into the stack's bucket: node publish.mjs --stack NAME [--region REGION] [--title TITLE]
// Needs `npm run build` before, and the aws CLI with credentials that may describe the stack and write to the bucket.
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { stack: { type: "string" }, region: { type: "string" }, title: { type: "string" } } });
const dist = fileURLToPath(new URL("dist/", import.meta.url));
if (values.stack === undefined || !existsSync(`${dist}index.html`)) {
  console.error("usage: npm run build && node publish.mjs --stack NAME [--region REGION] [--title TITLE]");
  process.exit(2);
}
const region = values.region === undefined ? [] : ["--region", values.region];
const aws = (...args) => execFileSync("aws", [...args, ...region], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

const [stack] = JSON.parse(aws("cloudformation", "describe-stacks", "--stack-name", values.stack, "--output", "json")).Stacks;
const pairs = (list, key, value) => Object.fromEntries((list ?? []).map((entry) => [entry[key], entry[value]]));
const outputs = pairs(stack.Outputs, "OutputKey", "OutputValue");
const parameters = pairs(stack.Parameters, "ParameterKey", "ParameterValue");
for (const name of ["WebSocketUrl", "BoardBucketName"]) {
  if (!outputs[name]) throw new Error(`the stack ${values.stack} has no output ${name}`);
}

const config = { ws_url: outputs.WebSocketUrl, title: values.title ?? "Signalbox", anonymous: parameters.AllowAnonymousViewers === "true" };
// The output ends in /api; the board puts the whole path behind the base.
if (outputs.ApiUrl) config.api_url = outputs.ApiUrl.replace(/\/api\/?$/, "");
writeFileSync(`${dist}config.json`, JSON.stringify(config));

const bucket = `s3://${outputs.BoardBucketName}`;
// Assets carry a hash in their names and never change. They go first, so that the new page never names what is not there yet;
// what the old page names stays for those who have it open.
aws("s3", "sync", `${dist}assets`, `${bucket}/assets`, "--cache-control", "public, max-age=31536000, immutable");
aws("s3", "sync", dist, bucket, "--exclude", "assets/*", "--cache-control", "no-cache");
console.log(`published to ${outputs.BoardUrl ?? bucket}`);
