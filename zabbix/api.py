"""Zabbix's API, and one POST: what install.py and doctor.py both need to talk. Python's standard library only
(SSL_CERT_FILE, https_proxy and no_proxy are heeded)."""

import email.utils
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request


class Failure(Exception):
    """What the administrator is told; `mend` is what to do about it."""

    def __init__(self, text, mend=""):
        super().__init__(text)
        self.mend = mend


class Unreachable(Failure):
    """No answer, or not one of whom was asked."""


class Refused(Failure):
    """Zabbix's API answered with an error."""


class StaysHere(urllib.request.HTTPRedirectHandler):
    """Redirects are answers: whoever follows one loses what was to be posted."""

    def redirect_request(self, *_):
        return None


class Answer:
    """Status, headers and text of an answer; `ahead` is how many seconds its clock is ahead of ours, None if it has none."""

    def __init__(self, status, headers, text, asked_at):
        self.status, self.headers, self.text, self.ahead = status, headers, text, None
        try:
            # a whole second: on average it was half of one later
            date = email.utils.parsedate_to_datetime(headers.get("Date")).timestamp() + 0.5
            self.ahead = date - (asked_at + time.time()) / 2
        except (TypeError, ValueError, AttributeError):
            pass

    def json(self):
        """The object in it; None if there is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def excerpt(self):
        """An answer that was not expected, in one line: the title of a page, or how the text begins."""
        title = re.search(r"<title[^>]*>([^<]*)<", self.text, re.IGNORECASE)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", self.text[:20000])
        text = re.sub(r"\s+", " ", text).strip()
        return f'"{text[:120]}"' if text else "nothing"


def web_address(text):
    """The address without blanks around it, if it is one."""
    text = text.strip()
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
        raise Failure(f"{text} is no address", "It begins with https:// and has a host")
    return text


def post(url, body, headers, timeout=60):
    """Any answer at all, also one that says no."""
    asked_at = time.time()
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(StaysHere).open(request, timeout=timeout) as response:
            return Answer(response.status, response.headers, text_of(response), asked_at)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, text_of(error), asked_at)
    # ValueError: an address that only looks like one
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"{url}: {reason}", cause(reason, timeout)) from error


def text_of(response):
    return response.read(32 * 1024 * 1024).decode("utf-8", "replace")


def cause(reason, timeout):
    """What to do about a connection that did not come about."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ("The certificate is not believed here: mend it, or name its authority in SSL_CERT_FILE. Expired or for another host:"
                " a new certificate. Of a proxy that looks into TLS: its authority")
    if isinstance(reason, ssl.SSLError):
        return "No TLS there: http:// for https://, another port, or something on the way that ends TLS"
    if isinstance(reason, socket.gaierror):
        return "No such name in DNS here: look at the address, and at the resolver of this machine"
    if isinstance(reason, ConnectionRefusedError):
        return "Nothing listens there: look at host and port, and whether the web server runs"
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return f"No answer within {timeout} s: a firewall on the way, or the proxy is not set (https_proxy)"
    if "Tunnel connection failed" in str(reason):
        return "The proxy in https_proxy does not let it through"
    return "Look at the address, the firewall and the proxy (https_proxy, no_proxy)"


class Zabbix:
    """Its API."""

    def __init__(self, address):
        address = web_address(address)
        self.address = address if address.endswith(".php") else address.rstrip("/") + "/api_jsonrpc.php"
        self.token, self.session, self.ahead = None, False, None
        self.release = self.call("apiinfo.version", [])
        version = re.match(r"(\d+)\.(\d+)", str(self.release))
        if not version:
            raise Unreachable(f"{self.address} is not Zabbix's API: its version is {self.release!r:.80}", "Look at the address, and at proxies on the way")
        self.version = tuple(int(part) for part in version.groups())

    def call(self, method, params, token=None):
        """The result of a call, by `token` if one is given: of another user than who logged in."""
        token = token or self.token
        call = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        headers = {"Content-Type": "application/json-rpc"}
        # these refuse whoever says who he is
        if token and method not in ("apiinfo.version", "user.login", "user.checkAuthentication"):
            # the header came with 6.4, the property went with 7.2
            if self.version >= (6, 4):
                headers["Authorization"] = f"Bearer {token}"
            else:
                call["auth"] = token
        answer = post(self.address, json.dumps(call).encode(), headers)
        self.ahead = answer.ahead
        found = answer.json()
        if answer.status != 200 or found is None or ("result" not in found and "error" not in found):
            raise self.stranger(answer)
        if "error" in found:
            error = found["error"] if isinstance(found["error"], dict) else {}
            raise Refused(f"{method}: {error.get('message', '')} {error.get('data', '')}".strip())
        return found["result"]

    def stranger(self, answer):
        """Zabbix answers 200 and JSON, errors included: this was somebody else."""
        said = f"{self.address}: HTTP {answer.status}, {answer.excerpt()}"
        if 300 <= answer.status < 400:
            return Unreachable(f"{self.address} redirects to {answer.headers.get('Location')}", "Give the address that it leads to")
        if answer.status == 412:
            return Unreachable(said, "Zabbix says 412 if the Content-Type application/json-rpc is lost: by a proxy or the web server's configuration")
        if answer.status in (401, 403, 407):
            return Unreachable(said, "Not Zabbix but a proxy or the web server, which wants a login or forbids the address")
        if answer.status == 404:
            return Unreachable(said, "The frontend is under another path, often /zabbix: its API ends in /api_jsonrpc.php")
        if answer.status >= 500:
            return Unreachable(said, "The web server or PHP fails: its error log says why")
        return Unreachable(f"{said}, not JSON of Zabbix's API",
                           "A proxy's page, or another address than the frontend's: its API ends in /api_jsonrpc.php")

    def login(self, env=None):
        env = os.environ if env is None else env
        self.token = env.get("ZABBIX_TOKEN")
        if self.token:
            return
        user, password = env.get("ZABBIX_USER"), env.get("ZABBIX_PASSWORD")
        if not user or not password:
            raise Failure("ZABBIX_TOKEN, or ZABBIX_USER and ZABBIX_PASSWORD, must be set", "Of a super admin")
        self.token = self.call("user.login", {"username": user, "password": password})
        self.session = True

    def logout(self):
        if self.session:
            self.call("user.logout", [])

    def whose(self, token=None):
        """The user of a token, by default of who logged in."""
        name = "sessionid" if token is None and self.session else "token"
        return self.call("user.checkAuthentication", {name: token or self.token})

    def get(self, method, **params):
        return self.call(method, params)


def first(found):
    return found[0] if found else None
