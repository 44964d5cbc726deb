"""python3 -m unittest discover -s zabbix: doctor.py against what 6.0.14 and 7.0.22 answered (fixtures/), with one thing wrong at
a time, and a receiver that answers as Signalbox does. Nothing wrong is the first test: so each of the others can fail."""

import copy
import email.utils
import hashlib
import hmac
import http.server
import io
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import api
import doctor
import wanted

ADMIN, POLLER, SECRET = "example-admin-token", "example-poller-token", "example-shared-secret"
CONNECTOR = "example-connector-token-0123456789abcdef"
WEBHOOK = "https://signalbox.example.org/webhook/zabbix"


def setUpModule():
    os.environ["no_proxy"] = "*"


class Server(http.server.ThreadingHTTPServer):
    """One answer for each POST: `answer(handler, body)` gives status, text and headers."""

    daemon_threads = True

    def __init__(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, text, headers = answer(self, body)
                self.send_response_only(status)
                for name, value in {"Content-Type": "application/json", "Date": date(0), **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *_):
        # a TLS client that does not believe us hangs up
        pass

    def close(self):
        self.shutdown()
        self.server_close()


def date(ahead):
    return email.utils.formatdate(time.time() + ahead, usegmt=True)


class FakeZabbix(dict):
    """Recorded answers by method, to be changed. `refused` are (token, method) that a role refuses; `raw` answers everything."""

    def __init__(self, version):
        recorded = json.loads((Path(__file__).parent / "fixtures" / f"{version}.json").read_text())
        super().__init__(recorded["answers"])
        self.release, self.refused, self.raw, self.ahead, self.asked = recorded["release"], set(), None, 0, []
        # from here, so that a change of the script is none of the fixtures
        self.media_type["script"] = wanted.script().replace("\n", "\r\n")
        self.media_type["parameters"] = [{"name": name, "value": value} for name, value in wanted.parameters(self.version).items()]
        for key, field in ("hanode.get", "lastaccess"), ("item.get zabbix[", "lastclock"), ("token.get", "lastaccess"), ("alert.get 0", "clock"):
            for one in self[key]:
                one[field] = str(int(time.time()))
        self["event.get"] = "0"
        self.server = Server(self.answer)

    @property
    def version(self):
        return tuple(int(part) for part in self.release.split(".")[:2])

    def answer(self, handler, body):
        if self.raw:
            return self.raw
        call = json.loads(body)
        said = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            said["result"] = self.result(call, handler.headers.get("Authorization", "")[7:] or call.get("auth"))
        except LookupError as error:
            said["error"] = {"code": -32602, "message": "Invalid params.", "data": str(error.args[0])}
        return 200, json.dumps(said), {"Date": date(self.ahead)}

    def result(self, call, token):
        method, params = call["method"], call["params"]
        self.asked.append((method, params))
        if method == "apiinfo.version":
            return self.release
        if method == "user.login":
            raise LookupError("Incorrect user name or password or account is temporarily blocked.")
        if method == "user.checkAuthentication":
            if token:
                raise LookupError("must be called without authorization header")
            token = params["token"]
        if token not in (ADMIN, POLLER):
            raise LookupError("Session terminated, re-login, please.")
        if (token, method) in self.refused:
            raise LookupError(f'No permissions to call "{method}".')
        found = self[self.key(method, params, token)]
        if method in ("role.get", "usergroup.get"):
            name = "roleid" if method == "role.get" else "usrgrpid"
            return [one for one in found if one[name] in params[f"{name}s"]]
        return found

    def key(self, method, params, token):
        """Under which it was recorded: several calls of a method are told apart by what they ask for."""
        if token == POLLER:
            return f"{method} poller" if method == "user.checkAuthentication" else f"poller {method}"
        more = {
            "alert.get": lambda: str(params["eventsource"]),
            "action.get": lambda: params["filter"]["eventsource"],
            "item.get": lambda: params["search"]["key_"],
            "usermacro.get": lambda: "global" if params.get("globalmacro") else "of hosts",
            "user.get": lambda: "by id" if "userids" in params else "by name" if "filter" in params else "",
        }.get(method, str)()
        return f"{method} {more}" if f"{method} {more}" in self else method

    # where a test's hand goes

    @property
    def media_type(self):
        return self["mediatype.get"][0]

    @property
    def user(self):
        return self["user.get"][0]

    @property
    def media(self):
        return self.user["medias"][0]

    @property
    def role(self):
        return self["role.get"][0]

    @property
    def rules(self):
        return self.role["rules"]

    @property
    def rights(self):
        group = next(one for one in self["usergroup.get"] if one["name"] == "Signalbox")
        return group[wanted.hostgroup_rights(self.version)[0]]

    @property
    def action(self):
        return self["action.get 0"][0]

    @property
    def internal(self):
        return self["action.get 3"][0]

    @property
    def token(self):
        return self["token.get"][0]

    @property
    def connector(self):
        return self["connector.get"][0]

    def macro(self, name):
        return next(one for one in self["usermacro.get global"] if one["macro"] == name)

    def permit(self, group, permission):
        """The user's permission for a host group, by its name; None for none."""
        groupid = next(one["groupid"] for one in self["hostgroup.get"] if one["name"] == group)
        self.rights[:] = [one for one in self.rights if one["id"] != groupid]
        if permission is not None:
            self.rights.append({"id": groupid, "permission": str(permission)})

    def let_acknowledge(self):
        """As install.py --acknowledge makes it."""
        self.rules["api"].append("event.acknowledge")
        for one in self.rules["actions"]:
            one["status"] = str(int(one["name"] in wanted.ACKNOWLEDGE_ACTIONS))
        for one in self.rights:
            one["permission"] = "3"

    def another_poller(self, groups=None, **rules):
        """The poller's token is of a user of its own, with the same rights and rules but these."""
        self["user.checkAuthentication poller"] = {"userid": "99", "username": "poller", "roleid": "99", "type": 1}
        groups = self.user["usrgrps"] if groups is None else groups
        self["user.get by id"] = [{"userid": "99", "username": "poller", "roleid": "99", "usrgrps": groups}]
        role = copy.deepcopy(self.role)
        role.update(roleid="99", name="Poller", rules={**role["rules"], **rules})
        self["role.get"].append(role)

    def items(self, key, part, **values):
        for one in self[key]:
            if part in one.get("key_", part):
                one.update(values)


class FakeSignalbox:
    """The receivers' answers (functions/zabbix-webhook, functions/zabbix-connector) to what carries no event."""

    def __init__(self):
        self.secret, self.token, self.ahead, self.raw, self.drops_headers = SECRET, CONNECTOR, 0, None, False
        self.server = Server(self.answer)

    def answer(self, handler, body):
        if self.raw:
            return self.raw
        status, code = self.webhook(handler.headers, body) if handler.path == "/webhook/zabbix" else self.connector(handler)
        text = {"error": {"code": code, "message": code}} if code else {"message": "Not Found"}
        return status, json.dumps(text), {"Date": date(self.ahead)}

    def webhook(self, headers, body):
        at, signature = headers.get("X-Zabbix-Timestamp"), headers.get("X-Zabbix-Signature")
        if not at or not signature or self.drops_headers:
            return 401, "unsigned"
        if "sha256=" + hmac.new(self.secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest() != signature:
            return 401, "bad_signature"
        if abs(time.time() + self.ahead - int(at)) > 300:
            return 401, "stale"
        return (422, "missing_field") if "event_id" not in json.loads(body) else (200, None)

    def connector(self, handler):
        if handler.path != "/connector/zabbix/events" or not self.token:
            return 404, None
        if handler.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, "bad_token" if handler.headers.get("Authorization") else "no_token"
        return 422, "nothing_taken"


class Case(unittest.TestCase):
    def start(self, version="7.0"):
        self.zabbix, self.signalbox = FakeZabbix(version), FakeSignalbox()
        self.addCleanup(self.zabbix.server.close)
        self.addCleanup(self.signalbox.server.close)
        # the fakes' addresses are known only now
        self.address, self.url = self.zabbix.server.address, f"{self.signalbox.server.address}/webhook/zabbix"
        self.connector = f"{self.signalbox.server.address}/connector/zabbix" if version != "6.0" else None
        self.zabbix.macro(wanted.URL)["value"] = self.url
        for one in self.zabbix.get("connector.get", []):
            one["url"] = f"{self.connector}/events"
        self.acknowledge = False
        self.env = {"ZABBIX_TOKEN": ADMIN, "SIGNALBOX_SECRET": SECRET, "SIGNALBOX_POLLER_TOKEN": POLLER, "SIGNALBOX_CONNECTOR_TOKEN": CONNECTOR}

    def arguments(self):
        return [self.address, *(["--url", self.url] if self.url else []), *(["--connector", self.connector] if self.connector else []),
                *(["--acknowledge"] if self.acknowledge else [])]

    def run_doctor(self):
        out = io.StringIO()
        code = doctor.main([*self.arguments(), "--json"], self.env, out)
        said = json.loads(out.getvalue())
        self.assertEqual(said["ok"], not any(finding["level"] == "FAIL" for finding in said["findings"]))
        self.assertEqual(code, 0 if said["ok"] else 1)
        for secret in (ADMIN, POLLER, SECRET, CONNECTOR):
            self.assertNotIn(secret, out.getvalue())
        for finding in said["findings"]:
            self.assertEqual(bool(finding["mend"]), finding["level"] != "ok", finding)
        return said["findings"]

    def assert_found(self, level, check, text):
        findings = self.run_doctor()
        hits = [one for one in findings if one["level"] == level and check in one["check"] and text in one["text"]]
        self.assertEqual(len(hits), 1, f"{level} {check}: {text} in\n" + "\n".join(map(str, findings)))
        return hits[0]

    def assert_nothing_wrong(self):
        self.assertEqual([one for one in self.run_doctor() if one["level"] != "ok"], [])


class Healthy(Case):
    def test_what_the_installer_made_has_nothing_wrong_in_either_version(self):
        for version in "6.0", "7.0":
            with self.subTest(version):
                self.start(version)
                self.assert_nothing_wrong()

    def test_without_the_optional_secrets_nothing_fails(self):
        self.start()
        self.env = {"ZABBIX_TOKEN": ADMIN}
        self.assertEqual({one["level"] for one in self.run_doctor()}, {"ok", "warn"})

    def test_it_changes_nothing_and_never_asks_for_what_has_the_secret_in_it(self):
        self.start()
        self.run_doctor()
        for method, params in self.zabbix.asked:
            self.assertRegex(method, r"\.(get|version|checkAuthentication)$")
            if method == "alert.get":
                self.assertNotIn(params["output"], ("extend", None))
                self.assertNotIn("parameters", params["output"])

    def test_the_lines_are_one_for_each_finding_with_what_to_do(self):
        self.start()
        self.zabbix.media_type["status"] = "1"
        out = io.StringIO()
        self.assertEqual(doctor.main(self.arguments(), self.env, out), 1)
        lines = out.getvalue().splitlines()
        self.assertIn("FAIL  media type Signalbox: disabled: every notification fails. Enable it in Alerts > Media types", lines)
        self.assertTrue(all(line[:6] in ("ok    ", "warn  ", "FAIL  ") for line in lines), lines)

    def test_screens_are_named_as_6_0_has_them(self):
        self.start("6.0")
        self.zabbix.media_type["status"] = "1"
        self.assertIn("Administration > Media types", self.assert_found("FAIL", "media type", "disabled")["mend"])

    def test_a_secret_that_zabbix_tells_is_struck_out(self):
        self.start()
        self.zabbix["alert.get 0"][0].update(status="2", error=f"sent {SECRET} to\nsomebody")
        self.assert_found("FAIL", "alerts", "sent ... to somebody")

    def test_a_poller_of_another_user_that_sees_as_much_is_fine(self):
        self.start()
        self.zabbix.another_poller()
        self.assert_nothing_wrong()

    def test_an_action_beside_that_is_not_as_it_should_be_does_no_harm(self):
        self.start()
        beside = {**copy.deepcopy(self.zabbix.action), "name": "Another", "update_operations": [], "pause_suppressed": "1"}
        self.zabbix["action.get 0"].insert(0, beside)
        self.assert_nothing_wrong()

    def test_operations_to_a_user_group_and_by_all_media_do_as_well(self):
        self.start()
        group = {"usrgrpid": self.zabbix.user["usrgrps"][0]["usrgrpid"]}
        self.zabbix.action["operations"][0].update(opmessage={"mediatypeid": "0"}, opmessage_usr=[], opmessage_grp=[group])
        # 12: to all who were told of the problem
        self.zabbix.action["update_operations"] = [{"operationtype": "12", "opmessage": {}}]
        self.assert_nothing_wrong()
        # but who was not told of it is not among them
        self.zabbix.action["operations"] = []
        self.assert_found("FAIL", "trigger action Signalbox", "no update operations")

    def test_a_role_that_allows_everything_is_not_said_to_acknowledge_badly(self):
        self.start()
        self.zabbix.rules.update({"api.mode": "0", "api": []})
        self.assertEqual([one["check"] for one in self.run_doctor() if one["level"] != "ok"], ["role Signalbox"])

    def test_who_is_no_super_admin_is_told_what_could_not_be_looked_at_and_nothing_wrong(self):
        self.start()
        self.zabbix["user.checkAuthentication"]["type"] = 2
        # as measured: these are left out or empty for an Admin, without an error
        for name in "script", "parameters":
            self.zabbix.media_type.pop(name)
        self.zabbix.update({"user.get": []})
        findings = [one for one in self.run_doctor() if one["level"] != "ok"]
        self.assertEqual({one["level"] for one in findings}, {"warn"})
        self.assertEqual([one["check"] for one in findings], ["caller", "media types", "user", "poller"])

    def test_the_poller_of_this_release_calls_what_the_role_allows(self):
        source = (Path(__file__).parent.parent / "shared" / "zabbix-api" / "src" / "call.rs").read_text()
        self.assertEqual(set(re.findall(r'"(\w+\.get|event\.acknowledge)"', source)) - {"hanode.get"}, set(wanted.poller_methods(True)))

    def test_a_media_type_by_another_name_is_known_by_its_script(self):
        self.start()
        self.zabbix.media_type["name"] = "Board"
        every = self.zabbix["mediatype.get"]
        self.zabbix.key = lambda method, params, token, key=self.zabbix.key: (
            "nothing" if method == "mediatype.get" and "name" in params["filter"] else key(method, params, token))
        self.zabbix.update({"nothing": [], "mediatype.get": [{"name": "Mine", "script": "return 1"}, *every]})
        self.assert_nothing_wrong()


def page(status, text="<html><head><title>Log in</title></head></html>", **headers):
    return status, text, {"Content-Type": "text/html", **headers}


LONG_AGO = "1000000000"


def raw(*answer):
    return lambda c, z, s: setattr(z, "raw", page(*answer[:2]) if len(answer) < 3 else answer)


def signalbox(**values):
    return lambda c, z, s: vars(s).update(values)


def case(**values):
    return lambda c, z, s: vars(c).update(values)


def env(**values):
    return lambda c, z, s: c.env.update(values)


def without(name, change=lambda c, z, s: None):
    """Without a variable of the environment, and with something else besides."""
    return lambda c, z, s: (c.env.pop(name), change(c, z, s))


def those(name, /, **values):
    """Values of one of the things that FakeZabbix has a property for."""
    return lambda c, z, s: getattr(z, name).update(values)


def answers(**values):
    """Other answers: `token_get` is token.get."""
    return lambda c, z, s: z.update({name.replace("_", "."): value for name, value in values.items()})


# What is wrong: its name, what is done about it (c: the case, z: Zabbix, s: Signalbox), and the one finding that tells of it
FINDINGS = [
    # the way to the API
    ("the frontend's address is a page", raw(200), "FAIL", "frontend", 'HTTP 200, "Log in", not JSON'),
    ("a proxy wants a login", raw(407), "FAIL", "frontend", "HTTP 407"),
    ("the content type is lost on the way", raw(412, ""), "FAIL", "frontend", "HTTP 412, nothing"),
    ("the frontend is under another path", raw(404), "FAIL", "frontend", "HTTP 404"),
    ("PHP fails", raw(500), "FAIL", "frontend", "HTTP 500"),
    ("the frontend redirects", raw(*page(301, Location="https://z.example.org/")), "FAIL", "frontend", "redirects to https://z.example.org/"),
    ("JSON that is not Zabbix's", raw(200, "[]", {}), "FAIL", "frontend", "not JSON of Zabbix's API"),
    ("something that is no version", lambda c, z, s: setattr(z, "release", "latest"), "FAIL", "frontend", "its version is 'latest'"),
    ("nothing listens", case(address="http://127.0.0.1:1"), "FAIL", "frontend", "refused"),
    ("https asked of http", lambda c, z, s: setattr(c, "address", c.address.replace("http:", "https:")), "FAIL", "frontend", "SSL"),
    ("no address", case(address="zabbix.example.org"), "FAIL", "frontend", "is no address"),
    ("what only looks like an address", case(address="http://a..b"), "FAIL", "frontend", "http://a..b"),
    ("no token and no password", without("ZABBIX_TOKEN"), "FAIL", "login", "must be set"),
    ("a wrong password", without("ZABBIX_TOKEN", env(ZABBIX_USER="Admin", ZABBIX_PASSWORD="wrong")), "FAIL", "login", "Incorrect user name"),
    ("a wrong token", env(ZABBIX_TOKEN="example-wrong-token"), "FAIL", "login", "Session terminated"),
    ("Zabbix is too old", lambda c, z, s: setattr(z, "release", "5.4.3"), "FAIL", "version", "5.4.3"),
    ("Zabbix is newer than what was tried", lambda c, z, s: setattr(z, "release", "7.4.1"), "warn", "version", "never tried"),
    ("the caller is no super admin", lambda c, z, s: z["user.checkAuthentication"].update(type=2), "warn", "caller", "no super admin"),
    ("users are not told", lambda c, z, s: (z["user.checkAuthentication"].update(type=2), z.update({"user.get": []})), "warn", "users", "tells of others to super admins alone"),
    ("a call is refused", lambda c, z, s: z.refused.add((ADMIN, "hanode.get")), "warn", "server", "No permissions to call"),
    ("an answer is of another shape", lambda c, z, s: z.media_type.pop("maxattempts"), "warn", "media types", "answers otherwise"),
    ("zabbix_server is dead", lambda c, z, s: z["hanode.get"][0].update(lastaccess=LONG_AGO), "FAIL", "server", "has not said for"),
    ("zabbix_server was never there", answers(hanode_get=[]), "FAIL", "server", "has not said yet"),
    # media type
    ("no media type", answers(mediatype_get=[]), "FAIL", "media type", "there is no media type"),
    ("media type disabled", those("media_type", status="1"), "FAIL", "media type", "disabled"),
    ("script of another release", lambda c, z, s: z.media_type.update(script=wanted.script() + "//"), "FAIL", "media type", "not the one of this release"),
    ("script of something else", those("media_type", script="return 1"), "FAIL", "media type", "not Signalbox's"),
    ("parameter missing", lambda c, z, s: z.media_type["parameters"].pop(0), "FAIL", "media type", "parameters missing: date"),
    ("parameter changed", lambda c, z, s: z.media_type["parameters"][0].update(value="{TIME}"), "FAIL", "media type", "parameters changed: date"),
    ("parameter more", lambda c, z, s: z.media_type["parameters"].append({"name": "mine", "value": "{X}"}), "warn", "media type", "leave Zabbix: mine"),
    ("secret typed into the media type",
     lambda c, z, s: next(one for one in z.media_type["parameters"] if one["name"] == "signalbox_secret").update(value=SECRET),
     "warn", "media type", "signalbox_secret typed in"),
    ("message template missing", lambda c, z, s: z.media_type["message_templates"].pop(2), "FAIL", "media type", "no message template for problem update"),
    ("too few attempts", those("media_type", maxattempts="3", attempt_interval="10s"), "warn", "media type", "an outage of 30 s loses"),
    ("timeout too short", those("media_type", timeout="2s"), "warn", "media type", "timeout 2 s"),
    ("timeout too long", those("media_type", timeout="1m"), "warn", "media type", "timeout 60 s"),
    ("sessions without limit", those("media_type", maxsessions="0"), "warn", "media type", "concurrent sessions unlimited"),
    # macros
    ("no address macro", lambda c, z, s: z["usermacro.get global"].remove(z.macro(wanted.URL)), "FAIL", f"macro {wanted.URL}", "not there"),
    ("address macro secret", lambda c, z, s: z.macro(wanted.URL).update(type="1"), "warn", f"macro {wanted.URL}", "cannot be compared"),
    ("address macro of another stack", lambda c, z, s: z.macro(wanted.URL).update(value=WEBHOOK), "FAIL", f"macro {wanted.URL}", f"is {WEBHOOK}, and not"),
    ("no secret macro", lambda c, z, s: z["usermacro.get global"].remove(z.macro(wanted.SECRET)), "FAIL", f"macro {wanted.SECRET}", "not there"),
    ("secret macro in clear", lambda c, z, s: z.macro(wanted.SECRET).update(type="0", value=SECRET), "warn", f"macro {wanted.SECRET}", "in clear"),
    ("secret macro in clear and wrong", lambda c, z, s: z.macro(wanted.SECRET).update(type="0", value="x"), "FAIL", f"macro {wanted.SECRET}", "not the secret in"),
    ("proxy macro", lambda c, z, s: z["usermacro.get global"].append({"macro": wanted.PROXY, "type": "0", "value": "http://u:p@p:1"}),
     "ok", f"macro {wanted.PROXY}", "by a proxy"),
    ("a host has the macro too", answers(usermacro_get=[{"macro": wanted.URL, "hosts": [{"name": "web-01"}], "templates": []}]), "warn", "macros", "also on web-01"),
    # user
    ("nobody has the media", lambda c, z, s: z.update({"user.get": [], "user.get by name": []}), "FAIL", "user", "nobody has a media"),
    ("the user has no media", lambda c, z, s: z.update({"user.get by name": z["user.get"], "user.get ": []}), "FAIL", "user signalbox", "has no media"),
    ("user disabled", those("user", users_status="1"), "FAIL", "user signalbox", "disabled, by one"),
    ("media disabled", those("media", active="1"), "FAIL", "user signalbox", "its media is disabled"),
    ("severities missing", those("media", severity="60"), "FAIL", "user signalbox", "leaves out the severities Not classified, Information"),
    ("not at all times", those("media", period="1-5,09:00-18:00"), "FAIL", "user signalbox", "is active 1-5,09:00-18:00 alone"),
    ("frontend allowed", those("user", gui_access="0"), "warn", "user signalbox", "may log in"),
    ("a person's name", those("user", name="Ann"), "warn", "user signalbox", "looks like a person's: it has a full name"),
    ("other media", lambda c, z, s: z.user["medias"].append({"mediatypeid": "1"}), "warn", "user signalbox", "other media"),
    ("the user acknowledges", lambda c, z, s: z.update({"problem.get": [{"eventid": "1", "acknowledges": [
        {"userid": z.user["userid"], "clock": LONG_AGO}, {"userid": z.user["userid"], "clock": str(int(time.time()) - 240)}]}]}),
     "FAIL", "user signalbox", "has updated problems, 1 time in a day, 4 min ago"),
    ("time zone", those("user", timezone="Europe/Berlin"), "warn", "user signalbox", "its time zone is Europe/Berlin"),
    # role
    ("role of a super admin", those("role", type="3"), "warn", "role Signalbox", "of type super admin"),
    ("all of the API", lambda c, z, s: z.rules.update({"api.mode": "0", "api": []}), "warn", "role Signalbox", "allows all of the API"),
    ("calls that are not needed", lambda c, z, s: z.rules["api"].append("host.delete"), "warn", "role Signalbox", "calls that nobody makes: host.delete"),
    ("actions that are not needed", lambda c, z, s: z.rules["actions"][0].update(status="1"), "warn", "role Signalbox", "more than is needed: actions"),
    ("frontend that is not needed", lambda c, z, s: [one.update(status="1") for one in z.rules["ui"]], "warn", "role Signalbox", "more than is needed: frontend"),
    ("services that are not needed", lambda c, z, s: z.rules.update({"services.read.mode": "1"}), "warn", "role Signalbox", "more than is needed: services"),
    # permissions
    ("no host to be seen", lambda c, z, s: z.rights.clear(), "FAIL", "host groups of signalbox", "no host at all, of 3"),
    ("a host group not to be seen", lambda c, z, s: z.permit("Secret", None), "warn", "host groups of signalbox", "cannot see 1 host of 3, in Secret (1)"),
    ("a host group denied", lambda c, z, s: z.permit("Site B", wanted.DENY), "warn", "host groups of signalbox", "in Site A/Web servers (1), Site B (1)"),
    ("tag filters", lambda c, z, s: z["usergroup.get"][0].update(tag_filters=[{"groupid": "2", "tag": "a", "value": ""}]), "warn", "user group", "tag filters leave out"),
    # actions
    ("no action", lambda c, z, s: z["action.get 0"].clear(), "FAIL", "trigger action", "none tells signalbox of anything"),
    ("action disabled", those("action", status="1"), "FAIL", "trigger action Signalbox", "disabled"),
    ("no operations", those("action", operations=[]), "FAIL", "trigger action Signalbox", "no operations to signalbox by Signalbox"),
    ("no recovery operations", those("action", recovery_operations=[]), "FAIL", "trigger action Signalbox", "no recovery operations"),
    ("no update operations", those("action", update_operations=[]), "FAIL", "trigger action Signalbox", "no update operations"),
    ("no operations of any kind", those("action", operations=[], update_operations=[], recovery_operations=[]), "FAIL", "trigger action Signalbox", "no operations to"),
    ("operations by another media type", lambda c, z, s: z.action["operations"][0]["opmessage"].update(mediatypeid="1"), "FAIL", "trigger action Signalbox", "no operations to"),
    ("operations to another user", lambda c, z, s: z.action["recovery_operations"][0].update(opmessage_usr=[{"userid": "1"}]),
     "FAIL", "trigger action Signalbox", "no recovery operations to"),
    ("operations that begin late", lambda c, z, s: z.action["operations"][0].update(esc_step_from="2"), "FAIL", "trigger action Signalbox", "begin at step 2"),
    ("operations with a condition", lambda c, z, s: z.action["operations"][0].update(opconditions=[{"conditiontype": "14", "operator": "0", "value": "0"}]),
     "warn", "trigger action Signalbox", "its operations have a condition"),
    ("pauses for suppressed problems", those("action", pause_suppressed="1"), "FAIL", "trigger action Signalbox", "pauses for suppressed"),
    ("pauses for symptoms", those("action", pause_symptoms="1"), "FAIL", "trigger action Signalbox", "pauses for symptom"),
    ("conditions", lambda c, z, s: z.action["filter"].update(conditions=[{"conditiontype": "4", "operator": "5", "value": "3", "value2": ""}]),
     "warn", "trigger action Signalbox", "leave out what they do not fit: severity >= Average"),
    ("a condition about a tag", lambda c, z, s: z.action["filter"].update(conditions=[{"conditiontype": "26", "operator": "0", "value": "prod", "value2": "env"}]),
     "warn", "trigger action Signalbox", "tag value equals env prod"),
    ("no internal action", lambda c, z, s: z["action.get 3"].clear(), "warn", "internal action", "none: the board shows"),
    ("internal action disabled", those("internal", status="1"), "FAIL", "internal action", "disabled"),
    ("internal action without recovery", those("internal", recovery_operations=[]), "FAIL", "internal action", "no recovery operations"),
    ("internal action of all kinds", lambda c, z, s: z.internal["filter"].update(conditions=[]), "warn", "internal action", "without the condition Event type"),
    ("internal action of items", lambda c, z, s: z.internal["filter"]["conditions"][0].update(value="0"), "FAIL", "internal action", "its event type is not"),
    # alerts
    ("the newest alert failed", lambda c, z, s: z["alert.get 0"][0].update(status="2", error="Signalbox: HTTP 401"), "FAIL", "alerts", "1 failed for good"),
    ("an older alert failed", lambda c, z, s: z["alert.get 0"][1].update(status="2", error="Media type disabled."), "warn", "alerts", "Media type disabled"),
    ("an alert waits", lambda c, z, s: z["alert.get 0"][0].update(status="0", retries="2", error="Signalbox: no answer"), "warn", "alerts", "1 tried again"),
    ("no alerts of problems", lambda c, z, s: z.update({"alert.get 0": [], "alert.get 3": [], "event.get": "7"}), "warn", "alerts", "none, though 7 problems began"),
    ("no problems", lambda c, z, s: z.update({"alert.get 0": [], "alert.get 3": []}), "ok", "alerts", "make one to see it arrive"),
    # poller
    ("a poller's token that is none", env(SIGNALBOX_POLLER_TOKEN="example-wrong-token"), "FAIL", "poller", "does not take the token"),
    ("no poller", without("SIGNALBOX_POLLER_TOKEN", answers(token_get=[])), "warn", "poller", "none: what Zabbix tells nobody"),
    ("no poller to acknowledge", without("SIGNALBOX_POLLER_TOKEN", lambda c, z, s: (z["token.get"].clear(), setattr(c, "acknowledge", True))),
     "FAIL", "poller", "it is what acknowledges"),
    ("a session for a token", answers(token_get=[]), "FAIL", "poller's token", "none of Zabbix's API tokens"),
    ("a call is not allowed to the poller", lambda c, z, s: z.rules["api"].remove("event.get"), "FAIL", "poller signalbox", "its role does not allow event.get"),
    ("no API for the poller", lambda c, z, s: z.rules.update({"api.access": "0"}), "FAIL", "poller signalbox", "does not allow event.get, host.get, item.get"),
    ("the poller is refused", lambda c, z, s: z.refused.add((POLLER, "trigger.get")), "FAIL", "poller signalbox", "is refused: trigger.get"),
    ("token disabled", those("token", status="1"), "FAIL", "token Signalbox poller", "disabled"),
    ("token expired", those("token", expires_at=LONG_AGO), "FAIL", "token Signalbox poller", "expired"),
    ("token soon expired", lambda c, z, s: z.token.update(expires_at=str(int(time.time()) + 3 * 86400 + 60)), "warn", "token Signalbox poller", "expires in 3 days"),
    ("token never used", those("token", lastaccess="0"), "warn", "token Signalbox poller", "was never used"),
    ("token not used any more", lambda c, z, s: z.token.update(lastaccess=str(int(time.time()) - 7200)),
     "warn", "token Signalbox poller", "was last used 2 h ago"),
    ("a poller that sees less", lambda c, z, s: z.another_poller(groups=[]), "FAIL", "poller poller", "cannot see 3 hosts that signalbox sees"),
    ("a poller of its own that may too much", lambda c, z, s: z.another_poller(api=[*wanted.POLLER_METHODS, "user.delete"]), "warn", "poller poller", "nobody makes: user.delete"),
    ("acknowledging is not allowed", case(acknowledge=True), "FAIL", "poller signalbox", "does not allow event.acknowledge"),
    ("acknowledging with a role that allows everything", lambda c, z, s: (setattr(c, "acknowledge", True), z.rules.update({"api.mode": "0", "api": []})),
     "FAIL", "poller signalbox", "may not acknowledge_problems"),
    ("acknowledging", lambda c, z, s: z.let_acknowledge(), "ok", "poller signalbox", "may acknowledge"),
    ("acknowledging without closing", lambda c, z, s: (z.let_acknowledge(), next(one for one in z.rules["actions"] if one["name"] == "close_problems").update(status="0")),
     "FAIL", "poller signalbox", "may not close_problems"),
    ("acknowledging without write", lambda c, z, s: (z.let_acknowledge(), [one.update(permission="2") for one in z.rights]),
     "FAIL", "poller signalbox", "may not write 3 hosts"),
    ("the poller cannot see silence", lambda c, z, s: z.rules["api"].remove("item.get"), "FAIL", "silence", "neither hanode.get nor item.get"),
    ("no own items", lambda c, z, s: z["item.get zabbix["].clear(), "warn", "silence", "no host has"),
    ("own items not to be seen", lambda c, z, s: z.permit("Zabbix servers", None), "warn", "silence", "may not read Zabbix server"),
    ("own items are old", lambda c, z, s: z.items("item.get zabbix[", "", lastclock=LONG_AGO), "FAIL", "silence", "zabbix_server is dead or busy"),
    ("silence by hanode.get", lambda c, z, s: (z.role.update(type="3"), z.rules["api"].append("hanode.get")), "ok", "silence", "by hanode.get"),
    # connector
    ("no connector", lambda c, z, s: z["connector.get"].clear(), "FAIL", "connector", "none posts to Signalbox"),
    ("no connector, and none is wanted", lambda c, z, s: (z["connector.get"].clear(), setattr(c, "connector", None)), "ok", "connector", "none is needed"),
    ("item values alone", lambda c, z, s: z.connector.update(data_type="0", url=f"{c.connector}/history", tags=[{"tag": "a"}]), "FAIL", "connector", "and no events"),
    ("connector disabled", those("connector", status="0"), "FAIL", "connector Signalbox", "disabled"),
    ("connector to another stack", those("connector", url="https://a.example.org/connector/zabbix/events"), "FAIL", "connector Signalbox", "and not to"),
    ("connector to the wrong path", lambda c, z, s: (z.connector.update(url=c.connector), setattr(c, "connector", None)), "FAIL", "connector Signalbox", "has to end in /events"),
    ("connector without a token", those("connector", authtype="0", token=""), "FAIL", "connector Signalbox", "without a bearer token"),
    ("connector with another token", those("connector", token="another-connector-token"), "FAIL", "connector Signalbox", "is not the one in"),
    ("connector tries once", those("connector", max_attempts="1"), "warn", "connector Signalbox", "one attempt"),
    ("connector without a limit", those("connector", max_records="0"), "warn", "connector Signalbox", "unlimited records"),
    ("connector with tags", those("connector", tags=[{"tag": "a"}]), "warn", "connector Signalbox", "its tag filter"),
    ("item values of all", lambda c, z, s: z.connector.update(data_type="0", url=f"{c.connector}/history"), "warn", "connector Signalbox", "every value of every item"),
    ("no connector workers", lambda c, z, s: z.items("item.get connector", "worker", state="1", error='No "connector worker" processes started.'),
     "FAIL", "connector workers", 'none: No "connector worker"'),
    ("the queue grows", lambda c, z, s: z.items("item.get connector", "queue", lastvalue="5000"), "warn", "connector workers", "5000 records wait"),
    ("workers cannot be seen", lambda c, z, s: z["item.get connector"].clear(), "warn", "connector workers", "does not tell"),
    ("connector address without a token", without("SIGNALBOX_CONNECTOR_TOKEN"), "warn", "connector address", "was not tried"),
    ("connector token is another", signalbox(token="another"), "FAIL", "connector address", "is not this stack's"),
    ("a stack without connectors", signalbox(token=None), "FAIL", "connector address", "nothing there"),
    ("connector address is a page", signalbox(raw=page(200)), "FAIL", "connector address", "not Signalbox"),
    ("connector address does not answer", case(connector="http://127.0.0.1:1"), "FAIL", "connector address", "no answer"),
    # webhook
    ("no secret to try", without("SIGNALBOX_SECRET"), "warn", "webhook", "was not tried"),
    ("a wrong secret", signalbox(secret="another"), "FAIL", "webhook", "is not this stack's"),
    ("our clock is slow", signalbox(ahead=400), "FAIL", "webhook", "s slow"),
    ("our clock is fast", signalbox(ahead=-400), "FAIL", "webhook", "s fast"),
    ("headers dropped", signalbox(drops_headers=True), "FAIL", "webhook", "did not arrive"),
    ("webhook at another path", lambda c, z, s: setattr(c, "url", f"{s.server.address}/prod/webhook/zabbix"), "FAIL", "webhook", "nothing there"),
    ("webhook of another path", lambda c, z, s: setattr(c, "url", s.server.address), "warn", "webhook", "does not end in /webhook/zabbix"),
    ("webhook redirects", signalbox(raw=page(302, Location="/x")), "FAIL", "webhook", "redirects to /x"),
    ("webhook is a page", signalbox(raw=page(200)), "FAIL", "webhook", 'not Signalbox: HTTP 200, "Log in"'),
    ("webhook behind a login", signalbox(raw=page(407)), "FAIL", "webhook", "not Signalbox: HTTP 407"),
    ("webhook fails", signalbox(raw=(503, "{}", {})), "FAIL", "webhook", "fails: HTTP 503"),
    ("webhook does not answer", case(url="http://127.0.0.1:1/webhook/zabbix"), "FAIL", "webhook", "no answer here"),
    ("webhook that is no address", case(url="signalbox"), "FAIL", "address", "is no address"),
    ("no address at all", lambda c, z, s: (setattr(c, "url", None), z["usermacro.get global"].clear()), "warn", "webhook", "not tried: there is no address"),
    ("clocks far apart", lambda c, z, s: setattr(z, "ahead", -400), "FAIL", "clock", "behind Signalbox's"),
    ("clocks apart", lambda c, z, s: setattr(z, "ahead", 60), "warn", "clock", "ahead of Signalbox's"),
    ("clock against ours, as Signalbox's is not known", lambda c, z, s: (signalbox(raw=page(200))(c, z, s), setattr(z, "ahead", 400)), "FAIL", "clock", "ahead of this machine's"),
]

# On 6.0, where it is asked in other words
FINDINGS_OF_6_0 = [
    ("connectors are asked of 6.0", case(connector="http://127.0.0.1:1"), "FAIL", "connector", "came with Zabbix 6.4"),
    ("no host to be seen", lambda c, z, s: z.rights.clear(), "FAIL", "host groups of signalbox", "no host at all"),
    ("no update operations", those("action", update_operations=[]), "FAIL", "trigger action Signalbox", "no update operations"),
    ("acknowledging without suppressing, which came later", lambda c, z, s: z.let_acknowledge(), "ok", "poller signalbox", "may acknowledge"),
]


class Findings(Case):
    """One test for each row."""


def add(version, name, change, level, check, text):
    def test(self):
        self.start(version)
        change(self, self.zabbix, self.signalbox)
        self.assert_found(level, check, text)

    test.__name__ = f"test_{version}_{name}".replace(" ", "_").replace(".", "_")
    assert not hasattr(Findings, test.__name__), name
    setattr(Findings, test.__name__, test)


for row in FINDINGS:
    add("7.0", *row)
for row in FINDINGS_OF_6_0:
    add("6.0", *row)


class Connections(unittest.TestCase):
    def test_each_cause_has_its_own_advice(self):
        self.assertIn("DNS", api.cause(socket.gaierror(-2, "Name or service not known"), 5))
        self.assertIn("within 5 s", api.cause(socket.timeout("timed out"), 5))
        self.assertIn("proxy in https_proxy", api.cause(OSError("Tunnel connection failed: 407 Proxy Authentication Required"), 5))
        self.assertIn("certificate", api.cause(ssl.SSLCertVerificationError(1, "self-signed"), 5))
        self.assertIn("No TLS", api.cause(ssl.SSLError(1, "wrong version number"), 5))
        self.assertIn("Nothing listens", api.cause(ConnectionRefusedError(111, "refused"), 5))
        self.assertIn("firewall", api.cause(ConnectionResetError(104, "reset"), 5))

    @unittest.skipUnless(shutil.which("openssl"), "openssl makes the certificate")
    def test_a_certificate_that_is_not_believed_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=a",
                            "-keyout", f"{folder}/key", "-out", f"{folder}/pem"], check=True, capture_output=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{folder}/pem", f"{folder}/key")
        server = Server(lambda *_: (200, "{}", {}))
        self.addCleanup(server.close)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        out = io.StringIO()
        self.assertEqual(doctor.main([server.address.replace("http:", "https:")], {"ZABBIX_TOKEN": ADMIN}, out), 1)
        self.assertRegex(out.getvalue(), r"FAIL  frontend: .*(?i:certificate).* The certificate is not believed here")

    def test_a_frontend_that_does_not_tell_its_time_is_told(self):
        report = doctor.Report()
        doctor.clocks(report, None, None)
        self.assertIn("does not tell its time", report.findings[0]["text"])

    def test_tokens_in_clear_over_the_net_are_told(self):
        self.assertTrue(doctor.in_clear("http://zabbix.example.org/api_jsonrpc.php"))
        self.assertFalse(doctor.in_clear("https://zabbix.example.org/api_jsonrpc.php"))
        self.assertFalse(doctor.in_clear("http://127.0.0.1:8080/api_jsonrpc.php"))


if __name__ == "__main__":
    unittest.main()
