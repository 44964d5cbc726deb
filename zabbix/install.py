#!/usr/bin/env python3
"""Sets a Zabbix up for Signalbox, by its API: media type, global macros, user role, user group, user, actions. Zabbix 6.0 to 7.0.
doctor.py says afterwards whether all of it is there.

    export ZABBIX_TOKEN=...                    # an API token of a super admin, or ZABBIX_USER and ZABBIX_PASSWORD
    export SIGNALBOX_SECRET=...                # value of the stack's output WebhookSecretArn
    zabbix/install.py https://zabbix.example.org --url https://.../webhook/zabbix --all-groups --dry-run
    zabbix/install.py https://zabbix.example.org --url https://.../webhook/zabbix --all-groups

Run it again at any time: what is as it should be stays untouched. What it did goes to standard error; the poller's token,
which is shown once, alone to standard output. Python 3.9 or newer, its standard library only (SSL_CERT_FILE, https_proxy and no_proxy are
heeded).
"""

import argparse
import json
import os
import secrets
import sys

import api
import wanted
from api import Failure, first
from wanted import DENY, NAME, PROXY, READ, SECRET, URL, USER, WRITE


class Zabbix(api.Zabbix):
    """With `dry` nothing is called that changes anything."""

    def __init__(self, address, dry):
        super().__init__(address)
        self.dry = dry
        say(f"Zabbix {self.release}, {self.address}")
        if self.version < (6, 0):
            raise Failure("Zabbix 6.0 or newer is needed")
        if self.version > (7, 0):
            say("newer than 7.0: not tried with this version")

    def change(self, method, params):
        """The result of a call that changes something; None in a dry run."""
        if self.dry:
            say(f"    would call {method} {json.dumps(hidden(params), ensure_ascii=False)}")
            return None
        return self.call(method, params)


def say(text):
    print(text, file=sys.stderr, flush=True)


def hidden(params):
    """Parameters to be shown: without passwords, and without a file's text."""
    if isinstance(params, list):
        return [hidden(param) for param in params]
    if not isinstance(params, dict):
        return params
    secret = {"passwd", "token", "source"} | ({"value"} if params.get("type") == 1 else set())
    return {key: "..." if key in secret else hidden(value) for key, value in params.items()}


def differs(want, have):
    """Is anything of `want` otherwise in `have`? The API tells numbers as text, and more than was given to it."""
    if isinstance(want, dict):
        return not isinstance(have, dict) or any(key not in have or differs(value, have[key]) for key, value in want.items())
    if isinstance(want, list):
        return not isinstance(have, list) or len(want) != len(have) or any(map(differs, want, have))
    return str(want) != str(have)


def ensure(zabbix, kind, id_name, have, want, once=()):
    """Creates or updates an object, or leaves it. Gives its id. `once`: what is given at its creation alone."""
    label = f"{kind} {want.get('name', USER)}"
    if have is None:
        made = zabbix.change(f"{kind}.create", {**want, **dict(once)})
        say(f"{label}: {'created' if made else 'would be created'}")
        return made[f"{id_name}s"][0] if made else f"<{id_name}>"
    if not differs(want, have):
        say(f"{label}: as it should be")
    else:
        made = zabbix.change(f"{kind}.update", {id_name: have[id_name], **{key: value for key, value in want.items() if key != "eventsource"}})
        say(f"{label}: {'updated' if made else 'would be updated'}")
    return have[id_name]


def media_type(zabbix):
    """Imported if it is not there, or its script or parameters are others. Attempts, sessions and texts may be one's own."""
    source = wanted.media_type(zabbix.version)

    def read():
        return first(zabbix.get("mediatype.get", filter={"name": NAME}, output="extend"))

    have = read()
    same = have is not None and wanted.same_script(have["script"]) and wanted.parameters(zabbix.version) == {
        parameter["name"]: parameter["value"] for parameter in have["parameters"]
    }
    if not same:
        rules = {"mediaTypes": {"createMissing": True, "updateExisting": True}}
        if zabbix.change("configuration.import", {"format": "yaml", "rules": rules, "source": source}) is None:
            say(f"mediatype {NAME}: would be imported")
            return have["mediatypeid"] if have else "<mediatypeid>"
        say(f"mediatype {NAME}: imported")
        have = read()
    return ensure(zabbix, "mediatype", "mediatypeid", have, {"name": NAME, "status": 0})


def global_macro(zabbix, name):
    return first(zabbix.get("usermacro.get", globalmacro=True, filter={"macro": name}, output="extend"))


def macro(zabbix, name, value, kind, description):
    """A global macro; without a value one that is there stays as it is."""
    have = global_macro(zabbix, name)
    if value is None:
        if have is not None:
            say(f"macro {name}: left as it is")
        return
    want = {"macro": name, "value": value, "type": kind, "description": description}
    if have is None:
        made = zabbix.change("usermacro.createglobal", want)
        say(f"macro {name}: {'created' if made else 'would be created'}")
    elif differs(want, have):
        # the value of a secret macro is told to nobody, so it always differs
        made = zabbix.change("usermacro.updateglobal", {"globalmacroid": have["globalmacroid"], **want})
        say(f"macro {name}: {'set' if made else 'would be set'}")
    else:
        say(f"macro {name}: as it should be")


def find_role(zabbix):
    return first(zabbix.get("role.get", filter={"name": NAME}, output="extend", selectRules="extend"))


def role(zabbix, have, poller, acknowledge):
    """One element of the frontend, which the API insists on; no services; API and actions only for a poller.

    `*.default_access` is about what a later Zabbix adds: what there is has to be named."""
    alike = have or first(zabbix.get("role.get", filter={"type": 1}, output="extend", selectRules="extend"))
    there = alike["rules"] if alike else {}
    actions = wanted.ACKNOWLEDGE_ACTIONS if acknowledge else []
    rules = {
        "ui": [{"name": name, "status": int(name == wanted.UI_ELEMENT)} for name in names(there, "ui")],
        "ui.default_access": 0,
        "modules": [{"moduleid": module, "status": 0} for module in names(there, "modules")],
        "modules.default_access": 0,
        "actions": [{"name": name, "status": int(name in actions)} for name in names(there, "actions")],
        "actions.default_access": 0,
        "services.read.mode": 0,
        "services.write.mode": 0,
        "api.access": 0,
    }
    if poller:
        rules |= {"api.access": 1, "api.mode": 1, "api": wanted.poller_methods(acknowledge)}
    if have:
        there["api"] = sorted(there.get("api", []))
        for kind, key in ("ui", "name"), ("actions", "name"), ("modules", "moduleid"):
            there[kind] = sorted(there.get(kind, []), key=lambda one: str(one[key]))
    return ensure(zabbix, "role", "roleid", have, {"name": NAME, "type": 1, "rules": rules})


def names(rules, kind):
    """Of the elements, actions or modules that this Zabbix has."""
    return sorted((one["moduleid" if kind == "modules" else "name"] for one in rules.get(kind, [])), key=str)


def host_groups(zabbix, names, everything):
    """Ids of the host groups and of all below them."""
    groups = zabbix.get("hostgroup.get", output=["groupid", "name"])
    if everything:
        return [group["groupid"] for group in groups]
    ids = []
    for name in names:
        found = [group["groupid"] for group in groups if group["name"] == name or group["name"].startswith(name + "/")]
        if not found:
            raise Failure(f"there is no host group {name}")
        ids += found
    return ids


def people(zabbix, names):
    """Ids of the user groups."""
    ids = []
    for name in names:
        found = first(zabbix.get("usergroup.get", filter={"name": name}, output=["usrgrpid"]))
        if not found:
            raise Failure(f"there is no user group {name}")
        ids.append(found["usrgrpid"])
    return ids


def user_group(zabbix, groups, acknowledge):
    """No frontend; may read the host groups, or those that it may now if none are given, and write if it acknowledges:
    closing and changing severities need it."""
    rights, select = wanted.hostgroup_rights(zabbix.version)
    have = first(zabbix.get("usergroup.get", filter={"name": NAME}, output="extend", **{select: "extend"}))
    if have:
        have[rights].sort(key=lambda right: int(right["id"]))
    permissions = dict.fromkeys(groups, READ)
    if have and not groups:
        permissions = {right["id"]: int(right["permission"]) for right in have[rights]}
    allowed = WRITE if acknowledge else READ
    want = {"name": NAME, "gui_access": 3, "users_status": 0}
    want[rights] = [
        {"id": group, "permission": DENY if permission == DENY else allowed}
        for group, permission in sorted(permissions.items(), key=lambda right: int(right[0]))
    ]
    return ensure(zabbix, "usergroup", "usrgrpid", have, want)


def user(zabbix, roleid, groups, mediatypeid):
    """Who the notifications are for. A password that nobody knows; times in UTC, which has no hour twice."""
    have = first(zabbix.get("user.get", filter={"username": USER}, output="extend", selectUsrgrps=["usrgrpid"], selectMedias="extend"))
    if have:
        groups = groups + [group["usrgrpid"] for group in have["usrgrps"]]
        have["usrgrps"].sort(key=lambda group: group["usrgrpid"])
    want = {
        "username": USER,
        "roleid": roleid,
        "timezone": "UTC",
        "usrgrps": [{"usrgrpid": group} for group in sorted(set(groups))],
        "medias": [wanted.media(mediatypeid)],
    }
    return ensure(zabbix, "user", "userid", have, want, once=[("passwd", secrets.token_urlsafe(40) + "aA1!")])


def action(zabbix, which, mediatypeid, userid):
    """One of action.json."""
    want = wanted.action(which, zabbix.version, mediatypeid, userid)
    select = {"selectOperations": "extend", "selectRecoveryOperations": "extend", "selectUpdateOperations": "extend", "selectFilter": "extend"}
    have = first(zabbix.get("action.get", filter={"name": want["name"]}, output="extend", **select))
    return ensure(zabbix, "action", "actionid", have, want)


def connector(zabbix, url, token):
    """Events as a stream, with 6.4 and newer. The server needs StartConnectors."""
    have = first(zabbix.get("connector.get", filter={"name": NAME}, output="extend"))
    # one attempt is the default, and loses whatever is not taken at once; one POST of any size may be too large. The status
    # is 1 for an enabled connector, and 0 for everything else that is enabled
    want = {"name": NAME, "data_type": 1, "url": wanted.connector_address(url), "max_attempts": 5, "max_records": 1000,
            "attempt_interval": "5s", "timeout": "5s", "status": 1}
    if token:
        want |= {"authtype": 5, "token": token}
    ensure(zabbix, "connector", "connectorid", have, want)
    say("connector: zabbix_server needs StartConnectors=1 or more (0 unless set), and a restart for that")


def api_token(zabbix, userid, renew):
    """The poller's token, on standard output."""
    name = wanted.TOKEN
    have = None if userid.startswith("<") else first(zabbix.get("token.get", userids=[userid], filter={"name": name}))
    if have and not renew:
        say(f"token {name}: there; --new-token makes a new one in its place")
        return
    tokenid = have["tokenid"] if have else ensure(zabbix, "token", "tokenid", None, {"name": name, "userid": userid})
    made = zabbix.change("token.generate", [tokenid])
    if made:
        say(f"token {name}: generated")
        print(made[0]["token"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zabbix", help="address of the frontend, or of api_jsonrpc.php")
    parser.add_argument("--url", help="output WebhookUrl of the stack; needed the first time")
    parser.add_argument("--proxy", help="HTTP proxy between zabbix_server and Signalbox")
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="host group that Signalbox may see, with all below it; repeatable")
    parser.add_argument("--all-groups", action="store_true", help="all host groups there are; run again when there are new ones")
    parser.add_argument("--people", action="append", default=[], metavar="NAME",
                        help="user group to join, so that its members' names are told; Signalbox then sees what it sees; repeatable")
    parser.add_argument("--no-internal", action="store_true", help="no action for triggers in unknown state")
    parser.add_argument("--poller", action="store_true", help="give the user the API's reading calls, and print a token")
    parser.add_argument("--acknowledge", action=argparse.BooleanOptionalAction, default=None,
                        help="let the poller's user acknowledge, comment, close, suppress and change severities, for the board; or no longer")
    parser.add_argument("--new-token", action="store_true", help="with --poller: a new token in place of the one that is there")
    parser.add_argument("--connector", metavar="URL", help="output ConnectorUrl of the stack: stream events to it too (6.4 and newer); bearer token in SIGNALBOX_CONNECTOR_TOKEN")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be called")
    options = parser.parse_args()

    secret = os.environ.get("SIGNALBOX_SECRET") or None

    zabbix = Zabbix(options.zabbix, options.dry_run)
    zabbix.login()
    try:
        # all that can be missing, before anything is changed
        for name, value, option in (URL, options.url, "--url"), (SECRET, secret, "SIGNALBOX_SECRET in the environment"):
            if not value and not global_macro(zabbix, name):
                raise Failure(f"{name} is not there yet: give {option}")
        if not (options.group or options.all_groups or zabbix.get("usergroup.get", filter={"name": NAME})):
            raise Failure("which host groups are for Signalbox? Give --all-groups or --group NAME")
        visible = host_groups(zabbix, options.group, options.all_groups)
        joined = people(zabbix, options.people)
        if options.connector and zabbix.version < (6, 4):
            raise Failure("connectors came with Zabbix 6.4")
        have = find_role(zabbix)
        if options.acknowledge and not (options.poller or have and have["rules"].get("api.access") == "1"):
            raise Failure("--acknowledge is for the poller's user: give --poller too")

        mediatypeid = media_type(zabbix)
        macro(zabbix, URL, options.url, 0, "Signalbox: output WebhookUrl of the stack")
        macro(zabbix, SECRET, secret, 1, "Signalbox: output WebhookSecretArn names it")
        macro(zabbix, PROXY, options.proxy, 0, "Signalbox: HTTP proxy on the way")
        calls = have["rules"].get("api", []) if have and have["rules"].get("api.access") == "1" else []
        acknowledge = wanted.ACKNOWLEDGE in calls if options.acknowledge is None else options.acknowledge
        roleid = role(zabbix, have, options.poller or bool(calls), acknowledge)
        groups = [user_group(zabbix, visible, acknowledge), *joined]
        userid = user(zabbix, roleid, groups, mediatypeid)
        action(zabbix, "trigger", mediatypeid, userid)
        if not options.no_internal:
            action(zabbix, "internal", mediatypeid, userid)
        if options.connector:
            connector(zabbix, options.connector, os.environ.get("SIGNALBOX_CONNECTOR_TOKEN"))
        if options.poller:
            api_token(zabbix, userid, options.new_token)
    finally:
        zabbix.logout()
    say("nothing was changed" if options.dry_run else "done; the server takes it up within CacheUpdateFrequency (7.0: 10 s, 6.0: 60 s, unless set)")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"install.py: {failure}" + (f". {failure.mend}" if failure.mend else ""))
