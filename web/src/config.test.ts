import { expect, test } from "vitest";
import { readConfig } from "./config";

test("all but the WebSocket's address may be missing; then there are no reports", () => {
  expect(readConfig({ ws_url: "wss://a.example/v1" })).toEqual({ ws_url: "wss://a.example/v1", title: "Signalbox", anonymous: false, api_url: undefined });
});

test("the reports' address is taken without the slash at its end", () => {
  expect(readConfig({ ws_url: "wss://a", api_url: "https://api.example/" }).api_url).toBe("https://api.example");
});

test("what is no address is said", () => {
  for (const broken of [null, {}, { ws_url: "https://a" }, { ws_url: 5 }]) expect(() => readConfig(broken)).toThrow("ws_url");
  for (const api of ["javascript:alert(1)", "", 5]) expect(() => readConfig({ ws_url: "wss://a", api_url: api })).toThrow("api_url");
});
