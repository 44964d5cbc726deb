// Init time of each function: from the start of the process to its first request for work, as Lambda counts it.
//
//   sam build        (ARCHITECTURE=x86_64 sam build on an x86_64 machine: the binaries are started here)
//   node bench/init-time.mjs [--runs 21] [--build .aws-sam/build]
//
// The least a function can do (bench/src/bin/echo.rs, same profile) stands beside them if it was built:
//   cargo build --release -p signalbox-bench --bin echo
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const root = new URL("..", import.meta.url).pathname;
const { values } = parseArgs({
  options: { runs: { type: "string", default: "21" }, build: { type: "string", default: join(root, ".aws-sam/build") } },
});
const functions = readdirSync(values.build)
  .filter((name) => existsSync(join(values.build, name, "bootstrap")))
  .map((name) => ({ name, folder: join(values.build, name), binary: join(values.build, name, "bootstrap") }));
const echo = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "release/echo");
if (existsSync(echo)) functions.push({ name: "(echo)", folder: root, binary: echo });

// What the template would set, pointing at nobody: nothing is called before there is work.
const environment = (folder) => ({
  AWS_ACCESS_KEY_ID: "x", AWS_SECRET_ACCESS_KEY: "x", AWS_REGION: "us-east-1", AWS_LAMBDA_FUNCTION_NAME: "f",
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "256", AWS_LAMBDA_FUNCTION_VERSION: "1", AWS_LAMBDA_LOG_GROUP_NAME: "g",
  AWS_LAMBDA_LOG_STREAM_NAME: "s", LAMBDA_TASK_ROOT: folder, CONNECTION_TABLE: "c", STATUS_TABLE: "s",
  CONNECTIONS_ENDPOINT: "https://example.org/live", ALLOWED_ORIGINS: "https://example.org", TOKEN_HMAC_SECRET: "secret",
  WEBHOOK_SECRET: "secret", EVENT_BUS_NAME: "b", API_KEY: "key",
  DATABASE_URL: "postgres://u:p@example.org/d?sslmode=require",
});

function started({ folder, binary }) {
  return new Promise((resolve, reject) => {
    let from;
    const server = createServer((request) => {
      const took = performance.now() - from;
      child.removeAllListeners("exit");
      child.kill("SIGKILL");
      request.socket.destroy();
      server.close(() => resolve(took));
    });
    let child;
    server.listen(0, "127.0.0.1", () => {
      from = performance.now();
      const env = { ...environment(folder), AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${server.address().port}` };
      child = spawn(binary, { env, stdio: ["ignore", "ignore", "inherit"] });
      child.once("exit", (code) => reject(new Error(`${binary} ended with ${code}`)));
    });
  });
}

console.log("| function | binary KiB | min ms | median ms | max ms |\n|---|---|---|---|---|");
for (const one of functions) {
  const samples = [];
  for (let run = 0; run < Number(values.runs); run += 1) samples.push(await started(one));
  samples.sort((a, b) => a - b);
  const [min, median, max] = [samples[0], samples[samples.length >> 1], samples.at(-1)].map((ms) => ms.toFixed(1));
  console.log(`| ${one.name} | ${Math.round(statSync(one.binary).size / 1024)} | ${min} | ${median} | ${max} |`);
}
