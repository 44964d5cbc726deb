"""What Signalbox needs in a Zabbix: install.py makes it, doctor.py looks for it. Python's standard library only."""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
NAME = "Signalbox"
USER = "signalbox"
TOKEN = f"{NAME} poller"
URL, SECRET, PROXY = "{$SIGNALBOX.URL}", "{$SIGNALBOX.SECRET}", "{$SIGNALBOX.PROXY}"

# What the poller calls (shared/zabbix-api/src/call.rs), and nothing that changes anything. It asks for hanode.get too,
# which super admins alone may call; item.get, of Zabbix's own items, is for everybody else.
POLLER_METHODS = ["event.get", "host.get", "item.get", "problem.get", "trigger.get"]
# What the board's acknowledging takes on top: the call, and what it may do to a problem
ACKNOWLEDGE = "event.acknowledge"
ACKNOWLEDGE_ACTIONS = ["acknowledge_problems", "add_problem_comments", "change_severity", "close_problems", "suppress_problems"]
# The form and the API want a role to have one
UI_ELEMENT = "monitoring.dashboard"

DENY, READ, WRITE = 0, 2, 3
ALL_SEVERITIES = 63
ALWAYS = "1-7,00:00-24:00"

# Event source and operation: what the media type needs a message template for, or Zabbix sends nothing
TEMPLATES = [("0", "0"), ("0", "1"), ("0", "2"), ("3", "0"), ("3", "1")]


def media_type(version):
    """The file to import: 6.0 does not take the newer one."""
    return (HERE / f"media-type-{'7.0' if version >= (7, 0) else '6.0'}.yaml").read_text()


def script():
    return (HERE / "webhook.js").read_text()


def same_script(text):
    """Zabbix gives lines back as the form sent them."""
    return text.replace("\r", "").strip() == script().strip()


def parameters(version):
    """Names and values of the media type's parameters."""
    return dict(re.findall(r"name: (\w+)\n +value: '(.*)'\n", media_type(version)))


def media(mediatypeid):
    return {"mediatypeid": mediatypeid, "sendto": USER, "active": 0, "severity": ALL_SEVERITIES, "period": ALWAYS}


def action(which, version, mediatypeid, userid):
    """Parameters of action.create: `trigger` or `internal` of action.json."""
    text = json.dumps(json.loads((HERE / "action.json").read_text())[which])
    made = json.loads(text.replace("<mediatypeid>", mediatypeid).replace("<userid>", userid))
    if version < (6, 4):
        made.pop("pause_symptoms", None)
    return made


def poller_methods(acknowledge):
    return sorted(POLLER_METHODS + [ACKNOWLEDGE] * acknowledge)


def hostgroup_rights(version):
    """How a user group's permissions are called, and how they are asked for: 6.2 gave templates' groups their own."""
    return ("hostgroup_rights", "selectHostGroupRights") if version >= (6, 2) else ("rights", "selectRights")


def connector_address(url, feed="events"):
    """The output ConnectorUrl, or it with the feed."""
    url = url.rstrip("/")
    return url if re.search(r"/(events|history)$", url) else f"{url}/{feed}"
