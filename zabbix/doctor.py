#!/usr/bin/env python3
"""Looks at a Zabbix that is set up for Signalbox, and at the stack's addresses, and says what is missing. It changes nothing.

    export ZABBIX_TOKEN=...                    # an API token of a super admin, or ZABBIX_USER and ZABBIX_PASSWORD
    export SIGNALBOX_SECRET=...                # optional, as are the next two: without them less can be looked at
    export SIGNALBOX_POLLER_TOKEN=...          # the parameter ZabbixApiToken
    export SIGNALBOX_CONNECTOR_TOKEN=...       # the parameter ZabbixConnectorToken
    zabbix/doctor.py https://zabbix.example.org --url https://.../webhook/zabbix

One line for each finding: ok, warn (it works, and not all of it or not for ever) or FAIL (something does not arrive), and what
to do about it. Ends with 1 if anything failed. The webhook's address gets one signed POST without an event, which Signalbox
refuses after it has looked at the signature. No secret is printed. Python 3.9 or newer, its standard library only.
"""

import argparse
import hashlib
import hmac
import json
import os
import re
import sys
import time
import urllib.parse

import wanted
from api import Failure, Refused, Unreachable, Zabbix, first, post, web_address
from wanted import DENY, NAME, PROXY, READ, SECRET, URL, USER, WRITE

# Signalbox takes what was signed this far from its own clock, seconds
WINDOW = 300
# And this is worth a word
DRIFT = 30
# A zabbix_server says every 5 s that it lives; its own items have a value every 10 s or every minute
LIVES, SILENCE = 30, 90
DAY = 86400
EXPIRES_SOON = 14 * DAY
# How many names are listed
LISTED = 8

# Where it is set: before 6.4, and since
SCREENS = {
    "media types": ("Administration > Media types", "Alerts > Media types"),
    "macros": ("Administration > General > Macros", "Administration > Macros"),
    "roles": ("Administration > User roles", "Users > User roles"),
    "user groups": ("Administration > User groups", "Users > User groups"),
    "users": ("Administration > Users", "Users > Users"),
    "tokens": ("Administration > General > API tokens", "Users > API tokens"),
    "trigger actions": ("Configuration > Actions > Trigger actions", "Alerts > Actions > Trigger actions"),
    "internal actions": ("Configuration > Actions > Internal actions", "Alerts > Actions > Internal actions"),
    "connectors": ("Administration > General > Connectors", "Administration > General > Connectors"),
    "hosts": ("Configuration > Hosts", "Data collection > Hosts"),
    "log": ("Reports > Action log", "Reports > Action log"),
}
SEVERITIES = ["Not classified", "Information", "Warning", "Average", "High", "Disaster"]
CONDITIONS = {
    "0": "host group", "1": "host", "2": "trigger", "3": "event name", "4": "severity", "6": "time period", "13": "template",
    "16": "problem is suppressed", "23": "event type", "25": "tag name", "26": "tag value",
}
OPERATORS = {
    "0": "equals", "1": "does not equal", "2": "contains", "3": "does not contain", "4": "in", "5": ">=", "6": "<=", "7": "not in",
    "8": "matches", "9": "does not match", "10": "yes", "11": "no",
}
UNKNOWN_TRIGGER = {"conditiontype": "23", "operator": "0", "value": "4"}


class Report:
    """Findings, in the order in which they were made. `secrets` are struck from whatever is said."""

    def __init__(self, secrets=(), out=None):
        self.findings, self.out = [], out
        # a short one is a word that stands elsewhere too, like the password zabbix
        self.secrets = sorted((secret for secret in secrets if secret and len(secret) >= 8), key=len, reverse=True)

    def ok(self, check, text):
        self.add("ok", check, text, "")

    def warn(self, check, text, mend):
        self.add("warn", check, text, mend)

    def fail(self, check, text, mend):
        self.add("FAIL", check, text, mend)

    def add(self, level, check, text, mend):
        text, mend = self.clean(text).rstrip("."), self.clean(mend)
        self.findings.append({"level": level, "check": check, "text": text, "mend": mend})
        if self.out:
            print(f"{level:4}  {check}: {text}" + (f". {mend}" if mend else ""), file=self.out, flush=True)

    def clean(self, text):
        for secret in self.secrets:
            text = text.replace(secret, "...")
        # text of others: no control characters, and one line
        return re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()

    def failed(self):
        return any(finding["level"] == "FAIL" for finding in self.findings)


class Account:
    """A user: what its role allows and which host groups it may see."""

    def __init__(self, zabbix, user):
        self.userid, self.name = user["userid"], user["username"]
        self.role = first(zabbix.get("role.get", roleids=[user["roleid"]], output="extend", selectRules="extend"))
        if not self.role:
            raise Refused(f"role.get: the role of {self.name} is not told")
        self.is_super_admin = self.role["type"] == "3"
        rights, select = wanted.hostgroup_rights(zabbix.version)
        groups = [group["usrgrpid"] for group in user["usrgrps"]]
        self.groups = zabbix.get("usergroup.get", usrgrpids=groups, output="extend", selectTagFilters="extend", **{select: "extend"})
        self.permissions = {}
        for right in (right for group in self.groups for right in group[rights]):
            here, before = int(right["permission"]), self.permissions.get(right["id"])
            # denied by one is denied
            self.permissions[right["id"]] = DENY if DENY in (here, before) else max(here, before or DENY)

    def may(self, groupid):
        return WRITE if self.is_super_admin else self.permissions.get(groupid)

    def hidden(self, host_groups, permission=READ):
        """Ids of the hosts that it may not see (or write to): in no group with that permission, or in a denied one."""
        allowed, denied, every = set(), set(), set()
        for group in host_groups:
            hosts, may = {host["hostid"] for host in group["hosts"]}, self.may(group["groupid"])
            every |= hosts
            if may == DENY:
                denied |= hosts
            elif may is not None and may >= permission:
                allowed |= hosts
        return every - allowed | denied

    def calls(self, method):
        """Does its role allow the call?"""
        rules = self.role["rules"]
        if rules.get("api.access") != "1":
            return False
        listed = method in rules.get("api", []) or "*" in rules.get("api", []) or f"{method.split('.')[0]}.*" in rules.get("api", [])
        return listed == (rules.get("api.mode") == "1")


    def acknowledges(self):
        """Is it meant to? A role that allows all but a few calls says nothing of that."""
        return self.role["rules"].get("api.mode") == "1" and self.calls(wanted.ACKNOWLEDGE)


class Doctor:
    """Everything that can be asked of one Zabbix."""

    def __init__(self, zabbix, report, options, env):
        self.zabbix, self.report, self.options = zabbix, report, options
        self.poller_token, self.connector_token = env.get("SIGNALBOX_POLLER_TOKEN"), env.get("SIGNALBOX_CONNECTOR_TOKEN")
        self.media_type = self.user = self.account = self.macro_url = None
        self.is_super_admin = True
        self.host_groups = []

    def screen(self, name):
        return SCREENS[name][self.zabbix.version >= (6, 4)]

    def everything(self):
        for look in (self.versions, self.server, self.media_types, self.macros, self.users, self.roles, self.hosts, self.trigger_action,
                     self.internal_action, self.alerts, self.poller, self.connectors):
            try:
                look()
            except Refused as error:
                self.report.warn(look.__name__.replace("_", " "), f"could not be looked at: {error}", "Use a super admin's token")
            except (KeyError, TypeError, ValueError, IndexError) as error:
                self.report.warn(look.__name__.replace("_", " "), f"could not be looked at: Zabbix {self.zabbix.release} answers otherwise"
                                 f" ({type(error).__name__} {error})", "Look by hand, docs/ZABBIX.md; and tell Signalbox")

    def versions(self):
        version = self.zabbix.version
        if version < (6, 0):
            self.report.fail("version", f"Zabbix {self.zabbix.release}", "Signalbox needs 6.0 or newer")
        elif version > (7, 0):
            self.report.warn("version", f"Zabbix {self.zabbix.release} was never tried", "6.0 and 7.0 were: what comes out of this doctor is the better")
        else:
            self.report.ok("version", f"Zabbix {self.zabbix.release}")
        if in_clear(self.zabbix.address):
            self.report.warn("frontend", "http: tokens go over the net in clear", "Give it TLS, above all if the poller reads it from AWS")
        me = self.zabbix.whose()
        self.is_super_admin = str(me.get("type")) == "3"
        if self.is_super_admin:
            self.report.ok("caller", f"{me['username']}, super admin")
        else:
            self.report.warn("caller", f"{me['username']} is no super admin: much cannot be looked at", "Use a super admin's token")

    def server(self):
        nodes = self.zabbix.get("hanode.get", output=["name", "lastaccess", "status"])
        # by the frontend's clock, or by ours if it says none
        ago = time.time() + (self.zabbix.ahead or 0) - max((int(node["lastaccess"]) for node in nodes), default=0)
        if not nodes or ago > LIVES:
            since = f"for {age(ago)}" if nodes else "yet"
            self.report.fail("server", f"zabbix_server has not said {since} that it lives", "Start it; its log says why it ended")
        else:
            self.report.ok("server", f"zabbix_server lives, seen {age(ago)} ago")

    # -- the webhook ---------------------------------------------------------------------------------------------------

    def media_types(self):
        select = {"output": "extend", "selectMessageTemplates": "extend"}
        # 4: webhooks
        have = first(self.zabbix.get("mediatype.get", filter={"name": NAME, "type": 4}, **select)) or first(
            [one for one in self.zabbix.get("mediatype.get", filter={"type": 4}, **select) if wanted.same_script(one.get("script", ""))])
        where = f"{self.screen('media types')} > Import {wanted.HERE.name}/media-type-{'7.0' if self.zabbix.version >= (7, 0) else '6.0'}.yaml, or run install.py"
        if not have:
            self.report.fail("media type", f"there is no media type {NAME}", where)
            return
        if "script" not in have:
            raise Refused("mediatype.get does not tell the script to who is no super admin")
        self.media_type, check, settings = have, f"media type {have['name']}", f"{self.screen('media types')} > {have['name']}"
        before = len(self.report.findings)
        if have["status"] != "0":
            self.report.fail(check, "disabled: every notification fails", f"Enable it in {self.screen('media types')}")
        if not wanted.same_script(have.get("script", "")):
            self.report.fail(check, "its script is not the one of this release" if "X-Zabbix-Signature" in have.get("script", "") else
                             "its script is not Signalbox's", f"Changed by hand, or of another release. {where}")
        self.media_parameters(check, where, {one["name"]: one["value"] for one in have["parameters"]})
        templates = [(one["eventsource"], one["recovery"]) for one in have["message_templates"]]
        lacking = [template for template in wanted.TEMPLATES if template not in templates]
        if lacking:
            words = {("0", "0"): "problem", ("0", "1"): "problem recovery", ("0", "2"): "problem update", ("3", "0"): "internal problem",
                     ("3", "1"): "internal problem recovery"}
            self.report.fail(check, f"no message template for {', '.join(words[template] for template in lacking)}: Zabbix sends none of them",
                             f"{settings} > Message templates; or {where}")
        self.media_options(check, f"{settings} > Options", have)
        if len(self.report.findings) == before:
            self.report.ok(check, "enabled, script and parameters are of this release")

    def media_parameters(self, check, where, have):
        want = wanted.parameters(self.zabbix.version)
        lacking = sorted(set(want) - set(have))
        other = sorted(name for name in want if name in have and have[name] != want[name])
        more = sorted(set(have) - set(want))
        if lacking:
            self.report.fail(check, f"parameters missing: {listed(lacking)}", where)
        typed = [name for name in other if name.startswith("signalbox_")]
        if typed:
            self.report.warn(check, f"{listed(typed)} typed in where {{$SIGNALBOX...}} belongs: macros are without effect, and a secret is "
                             "there for every admin to read", where)
        changed = [name for name in other if name not in typed]
        if changed:
            self.report.fail(check, f"parameters changed: {listed(changed)}", where)
        if more:
            self.report.warn(check, f"parameters that Signalbox does not know, and that leave Zabbix: {listed(more)}", f"Remove them, or {where}")

    def media_options(self, check, where, have):
        attempts, sessions = int(have["maxattempts"]), int(have["maxsessions"])
        interval, timeout = seconds(have["attempt_interval"]), seconds(have["timeout"])
        if interval is not None and attempts * interval < 120:
            self.report.warn(check, f"{plural(attempts, 'attempt')} every {interval} s: an outage of {attempts * interval} s loses notifications for good",
                             f"{where}: attempts 30, attempt interval 20s")
        if timeout is not None and not 5 <= timeout <= 30:
            self.report.warn(check, f"timeout {timeout} s: " + ("a first answer may take longer" if timeout < 5 else
                             "one that does not come holds up the others"), f"{where}: timeout 10s")
        if sessions == 0 or sessions > 20:
            self.report.warn(check, f"concurrent sessions {'unlimited' if sessions == 0 else sessions}: a storm takes all alerters from other media",
                             f"{where}: 1, or a few")

    def macros(self):
        macros = {one["macro"]: one for one in self.zabbix.get("usermacro.get", globalmacro=True, output="extend")}
        where = self.screen("macros")
        url, secret = macros.get(URL), macros.get(SECRET)
        if not url:
            self.report.fail(f"macro {URL}", "not there", f"{where}: the stack's output WebhookUrl")
        elif url["type"] != "0":
            self.report.warn(f"macro {URL}", "secret, so it cannot be compared", f"{where}: type Text")
        else:
            self.macro_url = url["value"].strip()
            if self.options.url and self.macro_url != self.options.url.strip():
                self.report.fail(f"macro {URL}", f"is {shown(self.macro_url)}, and not {shown(self.options.url)}", f"{where}: the stack's output WebhookUrl")
            else:
                self.report.ok(f"macro {URL}", shown(self.macro_url) + ("" if self.options.url else ", not compared: give --url"))
        if not secret:
            self.report.fail(f"macro {SECRET}", "not there", f"{where}: value of the secret that the output WebhookSecretArn names, type Secret text")
        elif secret["type"] == "0":
            self.report.warn(f"macro {SECRET}", "in clear: every admin may read it", f"{where}: type Secret text")
            if self.options.secret and secret["value"].strip() != self.options.secret:
                self.report.fail(f"macro {SECRET}", "not the secret in SIGNALBOX_SECRET", f"{where}: type it in anew")
        else:
            # Zabbix tells nobody what it is: the alerts say whether it is right
            self.report.ok(f"macro {SECRET}", "there; whether it is the right one show the alerts below")
        if PROXY in macros:
            self.report.ok(f"macro {PROXY}", "there: zabbix_server sends by a proxy, which this doctor does not")
        others = self.zabbix.get("usermacro.get", filter={"macro": [URL, SECRET, PROXY]}, output=["macro"], selectHosts=["name"], selectTemplates=["name"])
        if others:
            names = sorted({one["name"] for macro in others for one in macro.get("hosts", []) + macro.get("templates", [])})
            self.report.warn("macros", f"{listed(sorted({one['macro'] for one in others}))} also on {listed(names)}: global ones alone are meant",
                             f"{self.screen('hosts')} > Macros: remove them there")

    def users(self):
        if not self.media_type:
            self.report.warn("user", "not looked for, nor are its permissions and the actions: no media type is known that it could have", "Mend that first")
            return
        select = {"output": ["userid", "username", "name", "surname", "roleid", "timezone"], "getAccess": True, "selectMedias": "extend",
                  "selectUsrgrps": ["usrgrpid", "name"]}
        found = self.zabbix.get("user.get", mediatypeids=[self.media_type["mediatypeid"]], **select)
        self.user = first([user for user in found if user["username"] == USER] or found)
        if not self.user:
            if not self.is_super_admin:
                raise Refused("user.get tells of others to super admins alone")
            named = first(self.zabbix.get("user.get", filter={"username": USER}, **select))
            if named:
                self.user = named
                self.report.fail(f"user {USER}", f"has no media {self.media_type['name']}", f"{self.screen('users')} > {USER} > Media: add it, or run install.py")
            else:
                self.report.fail("user", f"nobody has a media {self.media_type['name']}", f"{self.screen('users')}: a user of its own for it, or run install.py")
                return
        user, check = self.user, f"user {self.user['username']}"
        self.account = Account(self.zabbix, user)
        before = len(self.report.findings)
        if user["users_status"] != "0":
            self.report.fail(check, "disabled, by one of its user groups: it is told nothing", f"{self.screen('user groups')}: enable the group, or take the user out of it")
        self.medias(check, user)
        self.people(check, user)
        if user["timezone"] != "UTC":
            zone = "Zabbix's own" if user["timezone"] in ("default", "system") else user["timezone"]
            self.report.warn(check, f"its time zone is {zone}: an hour in the year is there twice",
                             f"{self.screen('users')} > {user['username']}: UTC; or the parameter ZabbixTimeZone is the same zone")
        if len(self.report.findings) == before:
            self.report.ok(check, "enabled, of nobody, media for all severities at all times")

    def medias(self, check, user):
        where = f"{self.screen('users')} > {user['username']} > Media"
        medias = [media for media in user["medias"] if media["mediatypeid"] == self.media_type["mediatypeid"]]
        enabled = [media for media in medias if media["active"] == "0"]
        if medias and not enabled:
            self.report.fail(check, "its media is disabled: it is told nothing", f"{where}: enable it")
        elif enabled:
            covered = 0
            for media in enabled:
                covered |= int(media["severity"])
            lacking = [name for bit, name in enumerate(SEVERITIES) if not covered >> bit & 1]
            if lacking:
                self.report.fail(check, f"its media leaves out the severities {', '.join(lacking)}", f"{where}: tick all of them")
            if not any(media["period"] == wanted.ALWAYS for media in enabled):
                self.report.fail(check, f"its media is active {shown(enabled[0]['period'])} alone: what happens outside of that is lost for good",
                                 f"{where}: when active {wanted.ALWAYS}")

    def people(self, check, user):
        """Zabbix never tells the author of an update about it: if people work as this user, their updates do not arrive."""
        apart = "A user of its own for Signalbox, whom nobody works as: Zabbix tells nobody of his own updates"
        if user["gui_access"] != "3":
            self.report.warn(check, "may log in to the frontend", f"{self.screen('user groups')}: one of its groups with Frontend access Disabled. {apart}")
        others = [media for media in user["medias"] if media["mediatypeid"] != self.media_type["mediatypeid"]]
        if user["name"] or user["surname"] or others:
            self.report.warn(check, "looks like a person's: it has " + ("a full name" if not others else "other media"), apart)
        if self.account.acknowledges():
            # its updates are the board's, and the poller finds them
            return
        problems = self.zabbix.get("problem.get", recent=True, output=["eventid"], selectAcknowledges=["userid", "clock"], sortfield=["eventid"],
                                   sortorder="DESC", limit=500)
        now = time.time() + (self.zabbix.ahead or 0)
        authored = [int(one["clock"]) for problem in problems for one in problem["acknowledges"] if one["userid"] == user["userid"]]
        ages = [now - clock for clock in authored if now - clock < DAY]
        if ages:
            self.report.fail(check, f"has updated problems, {plural(len(ages), 'time')} in a day, {age(min(ages))} ago: no webhook tells of that", apart)

    def roles(self):
        if not self.account:
            return
        account, check = self.account, f"role {self.account.role['name']}"
        rules, where = account.role["rules"], f"{self.screen('roles')} > {account.role['name']}"
        before = len(self.report.findings)
        if account.role["type"] != "1":
            kind = "super admin" if account.is_super_admin else "admin"
            self.report.warn(check, f"of type {kind}: more than is needed", f"{where}: user type User; or run install.py")
        if rules.get("api.access") == "1":
            self.api_methods(check, where, account)
        needed = wanted.ACKNOWLEDGE_ACTIONS if account.acknowledges() else []
        allowed = [one["name"] for one in rules.get("actions", []) if one["status"] == "1"]
        more = sorted(set(allowed) - set(needed))
        elements = sorted(one["name"] for one in rules.get("ui", []) if one["status"] == "1")
        if more or len(elements) > 1 or rules.get("services.write.mode", "0") != "0" or rules.get("services.read.mode", "0") != "0":
            said = [f"actions {listed(more)}"] if more else []
            said += [f"frontend {listed(elements)}"] if len(elements) > 1 else []
            said += ["services"] if "1" in (rules.get("services.read.mode"), rules.get("services.write.mode")) else []
            self.report.warn(check, f"allows more than is needed: {'; '.join(said)}", f"{where}: untick them; or run install.py")
        if len(self.report.findings) == before:
            self.report.ok(check, "allows what is needed and no more")

    def api_methods(self, check, where, account):
        rules = account.role["rules"]
        if rules.get("api.mode") != "1":
            self.report.warn(check, "allows all of the API" + (" but a few calls" if rules.get("api") else ""),
                             f"{where} > API methods: Allow list, {', '.join(wanted.POLLER_METHODS)}; or run install.py --poller")
            return
        methods = wanted.poller_methods(account.acknowledges())
        more = sorted(set(rules.get("api", [])) - set(methods) - {"hanode.get"})
        if more:
            self.report.warn(check, f"allows calls that nobody makes: {listed(more)}", f"{where} > API methods; or run install.py --poller")

    def hosts(self):
        if not self.account:
            return
        # 6.0 takes with_hosts without a word, and tells all groups
        with_hosts = "with_hosts" if self.zabbix.version >= (6, 2) else "real_hosts"
        self.host_groups = self.zabbix.get("hostgroup.get", output=["groupid", "name"], selectHosts=["hostid"], **{with_hosts: True})
        self.seen(self.account)
        for group in self.account.groups:
            if group["tag_filters"] and not self.account.is_super_admin:
                self.report.warn(f"user group {group['name']}", f"tag filters leave out problems: {plural(len(group['tag_filters']), 'filter')}",
                                 f"{self.screen('user groups')} > {group['name']} > Problem tag filter: remove them, if all problems are wanted")

    def seen(self, account):
        """What a user can see of all hosts."""
        check = f"host groups of {account.name}"
        rights = f"{self.screen('user groups')} > {NAME} > {'Host permissions' if self.zabbix.version >= (6, 2) else 'Permissions'}"
        hidden = account.hidden(self.host_groups)
        every = {host["hostid"] for group in self.host_groups for host in group["hosts"]}
        if every and hidden == every:
            self.report.fail(check, f"it may read no host at all, of {len(every)}: nothing is ever told", f"{rights}: Read; or run install.py --all-groups")
        elif hidden:
            names = [f"{group['name']} ({count})" for group in self.host_groups for count in [sum(host["hostid"] in hidden for host in group["hosts"])] if count]
            self.report.warn(check, f"it cannot see {plural(len(hidden), 'host')} of {len(every)}, in {listed(names, 40)}",
                             f"{rights}: Read, if they are for the board; or run install.py --all-groups")
        else:
            self.report.ok(check, f"it sees all {plural(len(every), 'host')}")

    # -- actions -------------------------------------------------------------------------------------------------------

    def trigger_action(self):
        self.action("trigger", "0", {
            "operations": ("no operations to {user} by {media}: no problem arrives", "Operations"),
            "recovery_operations": ("no recovery operations to {user} by {media}: problems never go", "Recovery operations"),
            "update_operations": ("no update operations to {user} by {media}: acknowledgements, comments and severities do not arrive",
                                  "Update operations"),
        })

    def internal_action(self):
        self.action("internal", "3", {
            "operations": ("no operations to {user} by {media}: triggers in unknown state do not arrive", "Operations"),
            "recovery_operations": ("no recovery operations to {user} by {media}: triggers stay unknown", "Recovery operations"),
        })

    def action(self, which, source, operations):
        if not self.user or not self.media_type:
            return
        select = {"selectOperations": "extend", "selectRecoveryOperations": "extend", "selectFilter": "extend"}
        if source == "0":
            select["selectUpdateOperations"] = "extend"
        actions = self.zabbix.get("action.get", filter={"eventsource": source}, output="extend", **select)
        ours = [one for one in actions if any(self.tells(operation) for kind in operations for operation in one.get(kind, []))]
        name = wanted.action(which, self.zabbix.version, "", "")["name"]
        # by its name too: its operations may all be gone
        ours = ours or [one for one in actions if one["name"] == name]
        screen = self.screen(f"{which} actions")
        if not ours:
            if source == "0":
                self.report.fail("trigger action", f"none tells {self.user['username']} of anything", f"{screen} > Create action; or run install.py")
            else:
                self.report.warn("internal action", "none: the board shows a trigger that Zabbix cannot evaluate with its last state",
                                 f"{screen} > Create action, event type Trigger in \"unknown\" state; or run install.py")
            return
        looked = [self.action_findings(one, which, source, operations) for one in ours]
        # one that is as it should be is enough, whatever others do beside it
        best = min(zip(looked, ours), key=lambda pair: sum(100 if finding[0] == "FAIL" else 1 for finding in pair[0]))
        check = f"{which} action {best[1]['name']}"
        for level, text, mend in best[0]:
            self.report.add(level, check, text, mend)
        if not best[0]:
            self.report.ok(check, "enabled, " + ", ".join(kind.replace("_", " ") for kind in operations) + ", no conditions that leave anything out")

    def action_findings(self, action, which, source, operations):
        where, findings = f"{self.screen(f'{which} actions')} > {action['name']}", []
        if action["status"] != "0":
            findings.append(("FAIL", "disabled", f"{where}: enable it"))
        for kind, (text, tab) in operations.items():
            ours = [operation for operation in action.get(kind, []) if self.tells(operation) or (
                # to all who were told of the problem
                operation["operationtype"] in ("11", "12") and any(map(self.tells, action["operations"])))]
            if not ours:
                findings.append(("FAIL", text.format(user=self.user["username"], media=self.media_type["name"]),
                                 f"{where} > Operations > {tab}: Send message to the user by that media type; or run install.py"))
            elif kind == "operations":
                if not any(operation["esc_step_from"] == "1" for operation in ours):
                    findings.append(("FAIL", f"its operations begin at step {ours[0]['esc_step_from']}: problems come late, or not if they end before",
                                     f"{where} > Operations: steps 1 to 1"))
                if all(operation.get("opconditions") for operation in ours):
                    findings.append(("warn", "its operations have a condition: what is acknowledged at once is not told", f"{where} > Operations: remove it"))
        if source == "0" and action.get("pause_suppressed", "0") != "0":
            findings.append(("FAIL", "pauses for suppressed problems: those in maintenance arrive when it ends",
                             f"{where} > Operations: untick Pause operations for suppressed problems"))
        if source == "0" and action.get("pause_symptoms", "0") != "0":
            findings.append(("FAIL", "pauses for symptom problems: they never arrive", f"{where} > Operations: untick Pause operations for symptom problems"))
        conditions = action["filter"]["conditions"]
        if source == "3":
            event_types = [one for one in conditions if one["conditiontype"] == "23"]
            if not event_types:
                findings.append(("warn", "without the condition Event type: items and discovery rules are told too, which Signalbox refuses",
                                 f"{where}: event type equals Trigger in \"unknown\" state"))
            elif not any(all(one.get(key) == value for key, value in UNKNOWN_TRIGGER.items()) for one in event_types):
                findings.append(("FAIL", "its event type is not Trigger in \"unknown\" state: that of triggers does not arrive",
                                 f"{where}: event type equals Trigger in \"unknown\" state"))
            conditions = [one for one in conditions if one["conditiontype"] != "23"]
        if conditions:
            findings.append(("warn", f"its conditions leave out what they do not fit: {'; '.join(map(condition, conditions))}",
                             f"{where}: none, unless that is meant; the user's permissions decide as well"))
        return findings

    def tells(self, operation):
        """Is it a message to our user by our media type?"""
        message = operation.get("opmessage") or {}
        groups = {group["usrgrpid"] for group in self.user["usrgrps"]}
        return operation["operationtype"] == "0" and message.get("mediatypeid") in ("0", self.media_type["mediatypeid"]) and (
            any(one["userid"] == self.user["userid"] for one in operation.get("opmessage_usr", []))
            or any(one["usrgrpid"] in groups for one in operation.get("opmessage_grp", [])))

    def alerts(self):
        if not self.media_type:
            return
        since, alerts = int(time.time()) - DAY, []
        for source in 0, 3:
            # never "extend": the parameters have the secret in them
            alerts += self.zabbix.get("alert.get", eventsource=source, eventobject=0, mediatypeids=[self.media_type["mediatypeid"]], time_from=since,
                                      output=["alertid", "clock", "status", "retries", "error"], sortfield="alertid", sortorder="DESC", limit=1000)
        alerts.sort(key=lambda alert: int(alert["alertid"]), reverse=True)
        check, log = "alerts of a day", self.screen("log")
        if not alerts:
            problems = int(self.zabbix.get("event.get", source=0, object=0, value=[1], time_from=since, countOutput=True))
            if problems:
                self.report.warn(check, f"none, though {plural(problems, 'problem')} began",
                                 "Right if Signalbox was set up after them. If not: user, permissions and action above")
            else:
                self.report.ok(check, "none, as there was no problem: make one to see it arrive")
            return
        failed = [alert for alert in alerts if alert["status"] == "2"]
        waiting = [alert for alert in alerts if alert["status"] in ("0", "3") and alert["error"]]
        done = first([alert for alert in alerts if alert["status"] in ("1", "2")])
        reasons = {}
        for alert in failed + waiting:
            reasons.setdefault(alert["error"], []).append(alert)
        for number, (error, those) in enumerate(list(reasons.items())[:3]):
            at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(int(those[0]["clock"])))
            # what came to an end last says how it is now
            level = "FAIL" if number == 0 and (done is None or done["status"] == "2") else "warn"
            kind = "failed for good" if those[0]["status"] == "2" else "tried again"
            self.report.add(level, check, f"{len(those)} {kind}, last {at}: {error[:300]}", f"{log} has them all")
        if not reasons:
            self.report.ok(check, f"{plural(len(alerts), 'alert')}, none failed")
        elif done is not None and done["status"] == "1":
            self.report.ok(check, f"the newest arrived; {len(alerts)} in all, {len(failed)} failed")

    # -- the poller ----------------------------------------------------------------------------------------------------

    def poller(self):
        poller, taken = self.account, False
        # before the token is used here, which counts as well
        used = {token["tokenid"]: token["lastaccess"] for token in self.zabbix.get("token.get", output=["tokenid", "lastaccess"])}
        if self.poller_token:
            try:
                whose = self.zabbix.whose(self.poller_token)
                taken = True
            except Refused as error:
                # disabled or expired: the list of tokens may say so
                self.report.fail("poller", f"Zabbix does not take the token in SIGNALBOX_POLLER_TOKEN: {error}",
                                 f"{self.screen('tokens')}: enable it or make a new one (install.py --poller --new-token), and deploy it as ZabbixApiToken")
                whose = poller and {"userid": poller.userid}
            if whose and (not poller or whose["userid"] != poller.userid):
                user = first(self.zabbix.get("user.get", userids=[whose["userid"]], output=["userid", "username", "roleid"], selectUsrgrps=["usrgrpid"]))
                if not user:
                    raise Refused("user.get does not tell of the poller's user")
                poller = Account(self.zabbix, user)
                self.seen(poller)
        if not poller:
            return
        tokens = self.zabbix.get("token.get", userids=[poller.userid], output="extend")
        for token in tokens:
            token["lastaccess"] = used.get(token["tokenid"], token["lastaccess"])
        if not self.poller_token and not tokens:
            if self.options.acknowledge:
                self.report.fail("poller", "none, and it is what acknowledges", "install.py --poller --acknowledge")
            else:
                self.report.warn("poller", "none: what Zabbix tells nobody (docs/ZABBIX.md) stays unknown, and what is lost stays lost", "install.py --poller")
            return
        self.poller_role(poller)
        self.poller_tokens(tokens)
        if taken:
            self.poller_calls(poller)
        self.silence(poller)

    def poller_role(self, poller):
        check, where = f"poller {poller.name}", f"{self.screen('roles')} > {poller.role['name']} > API methods"
        lacking = [method for method in wanted.POLLER_METHODS if not poller.calls(method)]
        if lacking:
            self.report.fail(check, f"its role does not allow {listed(lacking)}", f"{where}; or run install.py --poller")
        else:
            self.report.ok(check, "its role allows what the poller calls")
        if self.account and poller.userid != self.account.userid:
            self.api_methods(check, where, poller)
            unseen = poller.hidden(self.host_groups) - self.account.hidden(self.host_groups)
            if unseen:
                self.report.fail(check, f"cannot see {plural(len(unseen), 'host')} that {self.account.name} sees: their problems are gone to it",
                                 f"{self.screen('user groups')}: the same permissions for both")
        if self.options.acknowledge and not poller.calls(wanted.ACKNOWLEDGE):
            self.report.fail(check, f"its role does not allow {wanted.ACKNOWLEDGE}", "Run install.py --poller --acknowledge")
        if self.options.acknowledge or poller.acknowledges():
            self.acknowledging(check, poller)

    def acknowledging(self, check, poller):
        allowed = {one["name"] for one in poller.role["rules"].get("actions", []) if one["status"] == "1"}
        # those that this version has: suppressing came with 6.2
        there = {one["name"] for one in poller.role["rules"].get("actions", [])}
        lacking = [name for name in wanted.ACKNOWLEDGE_ACTIONS if name in there and name not in allowed]
        before = len(self.report.findings)
        if lacking:
            self.report.fail(check, f"may not {listed(lacking)}, though it is to acknowledge",
                             f"{self.screen('roles')} > {poller.role['name']} > Access to actions; or run install.py --acknowledge")
        unwritable = poller.hidden(self.host_groups, WRITE) - poller.hidden(self.host_groups)
        if unwritable:
            self.report.fail(check, f"reads and may not write {plural(len(unwritable), 'host')}: their problems cannot be closed, nor severities changed",
                             f"{self.screen('user groups')}: Read-write; or run install.py --acknowledge")
        if len(self.report.findings) == before:
            self.report.ok(check, "may acknowledge, comment, close and change severities")

    def poller_tokens(self, tokens):
        """Of several, one that works is enough: which of them the stack has, only its value would say."""
        now, where = time.time() + (self.zabbix.ahead or 0), self.screen("tokens")
        if not tokens:
            self.report.fail("poller's token", "it is none of Zabbix's API tokens, but a session, which ends",
                             f"{where}: make one (install.py --poller), and deploy it as ZabbixApiToken")
            return
        token = max(tokens, key=lambda one: (one["status"] == "0", not 0 < int(one["expires_at"]) <= now, int(one["lastaccess"])))
        check, left, idle = f"token {token['name']}", int(token["expires_at"]) - now, now - int(token["lastaccess"])
        if token["status"] != "0":
            self.report.fail(check, "disabled", f"{where}: enable it")
        elif token["expires_at"] != "0" and left <= 0:
            self.report.fail(check, "expired", f"{where}: set a later date, or none")
        elif token["expires_at"] != "0" and left < EXPIRES_SOON:
            self.report.warn(check, f"expires in {plural(int(left // DAY), 'day')}", f"{where}: set a later date, or none")
        elif token["lastaccess"] == "0":
            self.report.warn(check, "was never used", "Deploy it as ZabbixApiToken, with ZabbixApiUrl; or the log of zabbix-poller says why")
        elif idle > 300:
            self.report.warn(check, f"was last used {age(idle)} ago: the poller does not come, or has another",
                             "Look at ZabbixApiUrl and ZabbixApiToken, at whether AWS reaches the frontend, and at the log of zabbix-poller")
        else:
            expires = "does not expire" if token["expires_at"] == "0" else f"expires in {left // DAY:.0f} days"
            self.report.ok(check, f"enabled, {expires}, last used {age(idle)} ago")

    def poller_calls(self, poller):
        """As the poller: with its token, what it asks for."""
        refused = []
        for method in wanted.POLLER_METHODS:
            try:
                self.zabbix.call(method, {"limit": 1}, self.poller_token)
            except Refused as error:
                refused.append(str(error))
        if refused:
            self.report.fail(f"poller {poller.name}", f"is refused: {listed(refused)}", f"{self.screen('roles')} > {poller.role['name']}; or run install.py --poller")
        else:
            self.report.ok(f"poller {poller.name}", "its token is taken, and all of its calls")

    def silence(self, poller):
        """Can the poller see that zabbix_server is dead? The API answers then too."""
        check = "silence of zabbix_server"
        if poller.is_super_admin and poller.calls("hanode.get"):
            self.report.ok(check, "the poller sees it, by hanode.get")
            return
        if not poller.calls("item.get"):
            self.report.fail(check, "the poller cannot see it: neither hanode.get nor item.get is allowed to it", "Run install.py --poller")
            return
        items = self.zabbix.get("item.get", search={"key_": "zabbix["}, startSearch=True, monitored=True, output=["itemid", "lastclock"],
                                selectHosts=["hostid", "name"])
        hidden = poller.hidden(self.host_groups)
        seen = [item for item in items if any(host["hostid"] not in hidden for host in item["hosts"])]
        if not items:
            self.report.warn(check, "the poller cannot see it: no host has Zabbix's own items (keys zabbix[...])",
                             f"{self.screen('hosts')}: a host with the template Zabbix server health, in a group that {poller.name} may read")
        elif not seen:
            names = sorted({host["name"] for item in items for host in item["hosts"]})
            self.report.warn(check, f"the poller cannot see it: {poller.name} may not read {listed(names)}, which has Zabbix's own items",
                             f"{self.screen('user groups')}: Read for its host group; or run install.py with --group for it and all the others")
        else:
            newest = time.time() + (self.zabbix.ahead or 0) - max(int(item["lastclock"]) for item in seen)
            if newest > SILENCE:
                self.report.fail(check, f"the newest of Zabbix's own values is {age(newest)} old: zabbix_server is dead or busy, or the clocks differ",
                                 "Start it; its log says more")
            else:
                self.report.ok(check, f"the poller sees it, by Zabbix's own items: the newest value is {age(newest)} old")

    # -- connectors ----------------------------------------------------------------------------------------------------

    def connectors(self):
        asked = self.options.connector
        if self.zabbix.version < (6, 4):
            if asked:
                self.report.fail("connector", "connectors came with Zabbix 6.4", "Leave --connector out: the webhook tells all of it")
            return
        found = self.zabbix.get("connector.get", output="extend", selectTags="extend")
        ours = [one for one in found if "/connector/zabbix" in one["url"] or one["name"].startswith(NAME)]
        if not ours:
            if asked:
                self.report.fail("connector", "none posts to Signalbox", f"{self.screen('connectors')} > Create; or run install.py --connector")
            else:
                self.report.ok("connector", "none, and none is needed")
            return
        if not any(one["data_type"] == "1" for one in ours):
            self.report.fail("connector", "item values are streamed, and no events", f"{self.screen('connectors')} > Create, data type Events; or run install.py --connector")
        for one in ours:
            self.connector(one)
        if any(one["status"] == "1" for one in ours):
            self.connector_workers()

    def connector(self, one):
        check, where = f"connector {one['name']}", f"{self.screen('connectors')} > {one['name']}"
        feed, before = ("events" if one["data_type"] == "1" else "history"), len(self.report.findings)
        # 1 is enabled here, and 0 everywhere else
        if one["status"] != "1":
            self.report.fail(check, "disabled", f"{where}: enable it")
        want = wanted.connector_address(self.options.connector.strip(), feed) if self.options.connector else None
        if want and one["url"] != want:
            self.report.fail(check, f"posts to {shown(one['url'])}, and not to {shown(want)}", f"{where} > URL")
        elif not one["url"].endswith(f"/{feed}"):
            self.report.fail(check, f"its data type is {'Events' if feed == 'events' else 'Item values'}, so its address has to end in /{feed}", f"{where} > URL")
        if one["authtype"] != "5" or not one["token"]:
            self.report.fail(check, "without a bearer token: every POST is refused", f"{where} > HTTP authentication: Bearer, ZabbixConnectorToken")
        elif self.connector_token and one["token"] != self.connector_token:
            self.report.fail(check, "its bearer token is not the one in SIGNALBOX_CONNECTOR_TOKEN", f"{where} > HTTP authentication: type it in anew")
        if one["max_attempts"] == "1":
            self.report.warn(check, "one attempt: whatever is not taken at once is lost", f"{where}: attempts 5")
        if one["max_records"] == "0":
            self.report.warn(check, "unlimited records: one POST may become too large, and is lost then", f"{where}: max records per message 1000")
        if feed == "events" and one["tags"]:
            self.report.warn(check, "its tag filter leaves out events, and recoveries come alone if it changes", f"{where}: none, unless that is meant")
        if feed == "history" and not one["tags"]:
            self.report.warn(check, "every value of every item, as there is no tag filter", f"{where}: a tag filter")
        if len(self.report.findings) == before:
            self.report.ok(check, "enabled, " + ("events" if feed == "events" else "item values") + ", with a bearer token")

    def connector_workers(self):
        """StartConnectors is told by no call; Zabbix's own items about it are, if there are any."""
        check, start = "connector workers", "zabbix_server.conf: StartConnectors=1 or more (0 unless set), and a restart; reloading starts none"
        items = {item["key_"]: item for item in self.zabbix.get("item.get", search={"key_": "connector"}, monitored=True,
                 output=["itemid", "key_", "state", "error", "lastclock", "lastvalue"])}
        worker = first([item for key, item in items.items() if key.startswith("zabbix[process,connector worker")])
        queue = items.get("zabbix[connector_queue]")
        if worker and worker["state"] == "1":
            self.report.fail(check, f"none: {worker['error'].splitlines()[0] if worker['error'] else 'their item is not supported'}", start)
        elif queue and queue["state"] == "0" and float(queue["lastvalue"] or 0) > 1000:
            self.report.warn(check, f"{queue['lastvalue']} records wait in the queue", f"If it grows, nobody takes them: {start}")
        elif worker and worker["lastclock"] != "0":
            self.report.ok(check, f"there are some, busy {float(worker['lastvalue'] or 0):.0f} %, {queue['lastvalue'] if queue else 'unknown'} in the queue")
        else:
            self.report.warn(check, "the API does not tell whether there are any",
                             f"{start}. `ps ax | grep 'connector worker'` on the server shows them; the template Zabbix server health has items about them")


# -- the stack's addresses ---------------------------------------------------------------------------------------------

def webhook(report, url, secret):
    """A POST that Signalbox refuses, for it has no event; only after it has looked at the signature. Gives how many seconds
    Signalbox's clock is ahead of ours, None if it was not Signalbox that answered."""
    check = "webhook"
    if not urllib.parse.urlsplit(url).path.endswith("/webhook/zabbix"):
        report.warn(check, f"{shown(url)} does not end in /webhook/zabbix", "It is the stack's output WebhookUrl, whole")
    body, at = b'{"v":1}', str(int(time.time()))
    headers = {"Content-Type": "application/json"}
    if secret:
        digest = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        headers.update({"X-Zabbix-Timestamp": at, "X-Zabbix-Signature": f"sha256={digest}"})
    try:
        answer = post(url, body, headers, 30)
    except Unreachable as error:
        report.fail(check, f"no answer here: {error}", error.mend)
        return None
    code, said = error_code(answer), f"HTTP {answer.status}, {answer.excerpt()}"
    macro = "It is the stack's output WebhookUrl"
    if answer.status == 422 and code == "missing_field":
        report.ok(check, "address and secret are right" if secret else "Signalbox is there")
    elif code == "unsigned" and not secret:
        report.warn(check, "Signalbox is there; whether the secret is right was not tried", "Give it in SIGNALBOX_SECRET")
    elif code == "unsigned":
        report.fail(check, "the headers X-Zabbix-Timestamp and X-Zabbix-Signature did not arrive", "A proxy on the way drops them")
    elif code == "bad_signature":
        report.fail(check, "the secret in SIGNALBOX_SECRET is not this stack's", "The output WebhookSecretArn names it; or the address is another stack's")
    elif code == "stale":
        report.fail(check, f"the clock of this machine is {drift(answer.ahead)}, and Signalbox takes {WINDOW} s at most", "NTP, here")
    elif 300 <= answer.status < 400:
        report.fail(check, f"redirects to {answer.headers.get('Location')}, and Zabbix loses what it posts", macro)
    elif answer.status in (404, 405):
        report.fail(check, f"nothing there: {said}", f"{macro} and ends in /webhook/zabbix")
    elif answer.status == 407 or (answer.status in (401, 403) and not code):
        report.fail(check, f"not Signalbox: {said}", "A proxy or another server, which wants a login or forbids the address")
    elif answer.status >= 500 or answer.status == 429:
        report.fail(check, f"Signalbox, or what is before it, fails: {said}", "The log of the function zabbix-webhook says why")
    else:
        report.fail(check, f"not Signalbox: {said}", f"{macro}; or a proxy answers in its place")
    return answer.ahead if code else None


def clocks(report, signalbox, zabbix):
    """What counts is zabbix_server's clock against Signalbox's; the frontend is mostly on the same machine, or on the same NTP."""
    if zabbix is None:
        report.warn("clock", "the frontend does not tell its time", "See that zabbix_server's machine has NTP")
        return
    apart = zabbix - (signalbox or 0)
    than = "Signalbox's" if signalbox is not None else "this machine's"
    if abs(apart) > WINDOW:
        report.fail("clock", f"that of Zabbix's frontend is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} {than}: Signalbox takes {WINDOW} s at most",
                    "NTP on the frontend's machine and above all on zabbix_server's")
    elif abs(apart) > DRIFT:
        report.warn("clock", f"that of Zabbix's frontend is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} {than}", "NTP")
    else:
        report.ok("clock", f"that of Zabbix's frontend and {than} are {abs(apart):.0f} s apart")


def connector_post(report, url, token):
    """An object that is no event, which Signalbox refuses after it has looked at the token."""
    check, url = "connector address", wanted.connector_address(url)
    headers = {"Content-Type": "application/x-ndjson"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = post(url, b"{}\n", headers, 30)
    except Unreachable as error:
        report.fail(check, f"no answer here: {error}", error.mend)
        return
    code = error_code(answer)
    if code == "nothing_taken":
        report.ok(check, "address and token are right")
    elif code == "no_token" and not token:
        report.warn(check, "Signalbox is there; whether the token is right was not tried", "Give it in SIGNALBOX_CONNECTOR_TOKEN")
    elif code in ("bad_token", "no_token"):
        report.fail(check, "the token in SIGNALBOX_CONNECTOR_TOKEN is not this stack's", "It is the parameter ZabbixConnectorToken")
    elif answer.status == 404:
        report.fail(check, "nothing there", "It is the output ConnectorUrl; without the parameter ZabbixConnectorToken there is none")
    else:
        report.fail(check, f"not Signalbox: HTTP {answer.status}, {answer.excerpt()}", "It is the output ConnectorUrl; or a proxy answers in its place")


def error_code(answer):
    """`code` of an answer of Signalbox."""
    error = (answer.json() or {}).get("error")
    return error.get("code") if isinstance(error, dict) else None


# -- words -------------------------------------------------------------------------------------------------------------

def condition(one):
    said = f"{CONDITIONS.get(one['conditiontype'], 'condition ' + one['conditiontype'])} {OPERATORS.get(one['operator'], one['operator'])}"
    values = [one[key] for key in ("value2", "value") if one.get(key)]
    if one["conditiontype"] == "4" and one.get("value", "").isdigit() and int(one["value"]) < len(SEVERITIES):
        values = [SEVERITIES[int(one["value"])]]
    return " ".join([said, *values])


def listed(names, most=LISTED):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def plural(count, noun):
    return f"{count} {noun}" + ("" if count == 1 else "s")


def in_clear(address):
    parts = urllib.parse.urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def age(seconds_):
    """How long ago, roughly."""
    for name, length in ("d", DAY), ("h", 3600), ("min", 60):
        if seconds_ >= 2 * length:
            return f"{seconds_ / length:.0f} {name}"
    return f"{max(seconds_, 0):.0f} s"


def drift(ahead):
    if ahead is None:
        return "wrong"
    return f"{abs(ahead):.0f} s {'slow' if ahead > 0 else 'fast'}"


def seconds(text):
    """Zabbix's `20s`, `1m`; None for a macro."""
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    return int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else None


def shown(text):
    """An address without what may be a password in it."""
    return re.sub(r"//[^/@\s]*@", "//...@", text.strip())[:200] or "empty"


def main(arguments=None, env=None, out=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zabbix", help="address of the frontend, or of api_jsonrpc.php")
    parser.add_argument("--url", help="output WebhookUrl of the stack; without it the macro's value is taken")
    parser.add_argument("--connector", metavar="URL", help="output ConnectorUrl of the stack, if events are to be streamed")
    parser.add_argument("--acknowledge", action="store_true", help="the board is to acknowledge (the parameter ZabbixAcknowledge)")
    parser.add_argument("--json", action="store_true", help="one object in place of lines: ok, zabbix (its version), findings")
    options = parser.parse_args(arguments)
    env, out = os.environ if env is None else env, out or sys.stdout
    options.secret = env.get("SIGNALBOX_SECRET", "").strip() or None
    secrets = [env.get(name) for name in ("ZABBIX_TOKEN", "ZABBIX_PASSWORD", "SIGNALBOX_SECRET", "SIGNALBOX_POLLER_TOKEN", "SIGNALBOX_CONNECTOR_TOKEN")]
    report = Report(secrets, None if options.json else out)

    zabbix = macro_url = ahead = None
    try:
        zabbix = Zabbix(options.zabbix)
        zabbix.login(env)
        report.secrets.append(zabbix.token)
        doctor = Doctor(zabbix, report, options, env)
        try:
            # so that a token that is none is told once, and not by every check
            zabbix.whose()
            doctor.everything()
        finally:
            macro_url = doctor.macro_url
            if zabbix.session:
                zabbix.logout()
    except Refused as error:
        report.fail("login", str(error), "ZABBIX_TOKEN (or ZABBIX_USER and ZABBIX_PASSWORD) of an enabled super admin")
    except Failure as error:
        report.fail("login" if zabbix and not isinstance(error, Unreachable) else "frontend", str(error), error.mend)

    try:
        if options.url or macro_url:
            ahead = webhook(report, web_address(options.url or macro_url), options.secret)
        else:
            report.warn("webhook", "not tried: there is no address", "Give --url")
        if options.connector:
            connector_post(report, web_address(options.connector), env.get("SIGNALBOX_CONNECTOR_TOKEN"))
    except Failure as error:
        report.fail("address", str(error), error.mend)
    if zabbix:
        clocks(report, ahead, zabbix.ahead)

    if options.json:
        release = zabbix.release if zabbix else None
        json.dump({"ok": not report.failed(), "zabbix": release, "findings": report.findings}, out, ensure_ascii=False, indent=1)
        out.write("\n")
    return int(report.failed())


if __name__ == "__main__":
    sys.exit(main())
