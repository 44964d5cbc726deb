// Signalbox's media type: one signed POST per notification. ES5, as Zabbix 6.0 and 7.0 run it (Duktape).
// What is thrown here stands in Reports > Action log. Zabbix then tries again: "Attempts", "Attempt interval" of the media type.
// The copies in media-type-*.yaml are made by check.py --write.

// Longest text sent; the receiver keeps half of it. Only operational data can be longer.
var MOST = 4096;
// Entries of the update history that are sent: receivers before event_update_count count them, in 2,048 characters
var ENTRIES = 93;

// Nothing, if Zabbix had no value for the macro: it leaves the macro's own text then, or *UNKNOWN*.
function clean(text) {
    text = String(text === undefined || text === null ? '' : text).replace(/\u0000/g, '').trim();
    var unresolved = /^(\*UNKNOWN\*|\{[A-Z][A-Z0-9._]*\}|\{[$#][A-Z0-9._]+(:[^{}]*)?\}|\{EVENT\.(RECOVERY\.)?TAGS\.[^{}]*\})$/;
    return unresolved.test(text) ? '' : text;
}

function setting(parameters, name) {
    var macro = '{$SIGNALBOX.' + name.toUpperCase() + '}', parameter = 'signalbox_' + name, text = clean(parameters[parameter]);
    if (parameters[parameter] === undefined) {
        throw 'Signalbox: the media type has no parameter ' + parameter + '. Import the media type anew.';
    }
    if (text === '') {
        throw 'Signalbox: ' + macro + ' is not set. Set it in Administration > Macros (6.0: Administration > General > Macros). '
            + 'Test in the list of media types resolves no macros: type the value into the form there.';
    }
    return text;
}

// Cut, and never in the middle of a character: half a surrogate pair is no JSON.
function cut(text, most) {
    return text.length > most ? text.substring(0, most).replace(/[\ud800-\udbff]$/, '') : text;
}

// What is sent: the macros that have a value, under the parameters' names.
function bodyOf(parameters, now) {
    var out = { v: 1 }, name, text, entries;
    for (name in parameters) {
        text = clean(parameters[name]);
        if (text === '' || name.indexOf('signalbox_') === 0) {
            continue;
        }
        if (name === 'event_tagsjson') {
            try { out.event_tags = JSON.parse(text); } catch (ignored) { out.event_tags = []; }
        } else if (name === 'event_update_history') {
            // how many there are orders the updates: of each the time is enough, and what people wrote stays here
            entries = text.match(/^\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d "/gm) || [];
            out.event_update_count = entries.length;
            out[name] = entries.slice(0, ENTRIES).join('\n');
        } else if (name === 'trigger_hostgroup_name') {
            out[name] = text.length > 4 * MOST ? text.substring(0, text.lastIndexOf(', ', 4 * MOST)) : text;
        } else {
            out[name] = cut(text, MOST);
        }
    }
    out.sent_at_ms = now;
    return ascii(JSON.stringify(out));
}

// JSON in ASCII alone: what is signed is then what is sent, whatever lies between Duktape's strings and the wire.
function ascii(json) {
    function escaped(unit) {
        return '\\u' + ('000' + unit.toString(16)).slice(-4);
    }
    var out = '', from = 0, i, code;
    for (i = 0; i < json.length; i++) {
        code = json.charCodeAt(i);
        if (code > 0x7e) {
            out += json.substring(from, i);
            // Duktape has strings with characters beyond 16 bits in one piece
            out += code > 0xffff ? escaped(0xd7c0 + (code >> 10)) + escaped(0xdc00 + (code & 0x3ff)) : escaped(code);
            from = i + 1;
        }
    }
    return out + json.substring(from);
}

// An answer that is not the receiver's, in one line: the title of a page, or how the text begins.
function excerpt(text) {
    text = text.substring(0, 20000);
    var title = /<title[^>]*>([^<]*)</i.exec(text);
    text = (title ? title[1] : text.replace(/<(script|style)[\s\S]*?<\/\1>/gi, ' ').replace(/<[^>]*>/g, ' ')).replace(/\s+/g, ' ').trim();
    return text === '' ? 'without a text' : '"' + cut(text, 200) + '"';
}

// How far this server's clock is from that of whoever answered, by the header Date.
function clock(request) {
    var headers, name, at, seconds;
    try {
        headers = request.getHeaders();
        for (name in headers) {
            at = name.toLowerCase() === 'date' ? /(\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d)/.exec(headers[name]) : null;
            if (at) {
                at = Date.UTC(+at[3], 'JanFebMarAprMayJunJulAugSepOctNovDec'.indexOf(at[2]) / 3, +at[1], +at[4], +at[5], +at[6]);
                seconds = Math.round((Date.now() - at) / 1000);
                return 'is ' + Math.abs(seconds) + ' s ' + (seconds < 0 ? 'slow' : 'fast');
            }
        }
    } catch (ignored) {
        // no header, no figure
    }
    return 'is wrong';
}

// What the administrator has to do about an answer.
function advice(status, code, error, request) {
    if (code === 'stale') {
        return 'The clock of this Zabbix server ' + clock(request) + ' and may be off by 300 s at most. Set it (NTP).';
    }
    if (code === 'bad_signature') {
        return '{$' + 'SIGNALBOX.SECRET} is not the secret of this Signalbox (its output WebhookSecretArn names it), '
            + 'or {$' + 'SIGNALBOX.URL} leads to another Signalbox, or to where it should only by a redirect (http:// for https://).';
    }
    if (code === 'unsigned') {
        return 'A proxy on the way drops the headers X-Zabbix-Timestamp and X-Zabbix-Signature.';
    }
    if (code === 'too_large' || status === 413) {
        return 'The notification is too large, by its tags most likely. Trying again does not help.';
    }
    if (code === 'missing_field' && error.field === 'event_id') {
        return 'Address and secret are right; there is just no event, as in Test in the list of media types.';
    }
    if (status === 422) {
        return 'Import the media type anew' + (error.field ? ' (its parameter ' + error.field + ' is not as it was)' : '')
            + '. It is for trigger actions, and for internal actions with the event type "Trigger in unknown state".';
    }
    if (code === 'not_json') {
        return 'Something on the way changes what is sent, or the script of the media type was changed. Import it anew.';
    }
    if (status === 401 || status === 403 || status === 407) {
        return 'This is not Signalbox but a proxy or another server, which wants a login or forbids the address.';
    }
    if (status === 404 || status === 405 || (status >= 300 && status < 400)) {
        return '{$' + 'SIGNALBOX.URL} is wrong: it is the output WebhookUrl and ends in /webhook/zabbix.';
    }
    if (status === 429 || status >= 500) {
        return 'Zabbix tries again. If it stays so, the log of the function zabbix-webhook says why.';
    }
    return 'This is not Signalbox. Look at {$' + 'SIGNALBOX.URL} and at proxies on the way.';
}

function send(parameters) {
    var url = setting(parameters, 'url'), secret = setting(parameters, 'secret'), proxy = clean(parameters.signalbox_proxy);
    if (!/^https?:\/\/\S+$/.test(url)) {
        throw 'Signalbox: {$' + 'SIGNALBOX.URL} is no address: "' + cut(url, 200) + '". It is the output WebhookUrl, https://.../webhook/zabbix.';
    }

    var now = Date.now(), at = String(Math.floor(now / 1000)), body = bodyOf(parameters, now), request = new HttpRequest(), text, status, answer = null;
    request.addHeader('Content-Type: application/json');
    request.addHeader('X-Zabbix-Timestamp: ' + at);
    request.addHeader('X-Zabbix-Signature: sha256=' + hmac('sha256', secret, at + '.' + body));
    if (proxy !== '') {
        request.setProxy(proxy);
    }
    try {
        text = String(request.post(url, body));
    } catch (error) {
        text = String(error).replace(/^Error: (cannot get URL: )?/, '').replace(/\.$/, '');
        // Zabbix follows redirects, and loses the body with the first
        throw 'Signalbox: no answer from ' + url + ' (' + text + '). '
            + (/redirect/i.test(text) ? advice(302) : 'Zabbix tries again.');
    }
    status = request.getStatus();
    try { answer = JSON.parse(text); } catch (ignored) { /* a page */ }

    if (status >= 200 && status < 300 && answer && answer.id) {
        return 'Signalbox took ' + answer.id;
    }
    var error = answer && answer.error && typeof answer.error === 'object' ? answer.error : {};
    throw 'Signalbox: HTTP ' + status + (error.code ? ' ' + error.code : '') + ', '
        + (error.message ? cut(String(error.message), 300) : 'answered ' + (answer && answer.message ? excerpt(String(answer.message)) : excerpt(text)))
        + '. ' + advice(status, error.code, error, request);
}

return send(JSON.parse(value));
