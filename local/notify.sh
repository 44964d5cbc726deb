#!/usr/bin/env bash
# notify.sh problem|update|recovery [EVENT_ID] [ENDPOINTS.JSON]: what Zabbix's media type would send, signed, to a running
# `cargo local`. The bodies are Zabbix's own; only ids and times are made new. A recovery ends the problem of the same id,
# and a problem that has ended never comes back: take a new id for the next.
set -euo pipefail
kind=${1:?problem, update or recovery} id=${2:-4711}
root=$(cd "$(dirname "$0")/.." && pwd)
endpoints=${3:-$root/.signalbox/endpoints.json}
read -r url secret < <(python3 -c 'import json, sys; e = json.load(open(sys.argv[1])); print(e["webhook_url"], e["webhook_secret"])' "$endpoints")
body=$(python3 - "$root/shared/zabbix/fixtures/recommended/v7.0-$kind.json" "$id" <<'PY'
import datetime, json, sys, time
body = json.loads(json.load(open(sys.argv[1]))["raw_body"])
now = datetime.datetime.now(datetime.timezone.utc)
body |= {"event_id": sys.argv[2], "sent_at_ms": int(time.time() * 1000)}
for part in "event", "event_update", "event_recovery":
    if part + "_date" in body:
        body |= {part + "_date": now.strftime("%Y.%m.%d"), part + "_time": now.strftime("%H:%M:%S")}
if "event_recovery_id" in body:
    body["event_recovery_id"] = str(int(sys.argv[2]) + 1)
print(json.dumps(body), end="")
PY
)
timestamp=$(date +%s)
signature=$(printf '%s.%s' "$timestamp" "$body" | openssl dgst -sha256 -hmac "$secret" -r | cut -d' ' -f1)
curl -sS -i "$url" -H 'content-type: application/json' -H "x-zabbix-timestamp: $timestamp" \
  -H "x-zabbix-signature: sha256=$signature" --data-binary "$body"
echo
