import { defineConfig } from "vitest/config";

// Only the built page carries the policy: Vite's dev client injects inline styles.
const policy = [
  "default-src 'self'",
  // config.json names the WebSocket host, which is not known at build time.
  "connect-src 'self' ws: wss: http: https:",
  // The favicon is a data: URI that changes with the worst severity.
  "img-src 'self' data:",
  "style-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox121", "safari17.5"],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  plugins: [
    {
      name: "content-security-policy",
      apply: "build",
      transformIndexHtml: () => [
        {
          tag: "meta",
          attrs: { "http-equiv": "Content-Security-Policy", content: policy },
          injectTo: "head-prepend",
        },
      ],
    },
  ],
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
