"""Starts MiniStack as the local cloud needs it: what it cannot be told by its configuration.

1. Without Nagle's algorithm: its Lambda runtime API writes header and body separately, which costs every invocation of a
   native function 40 ms of delayed acknowledgement.
2. EventBridge hands events to Lambda as AWS does: asynchronously, tried again after an error, then given to the function's
   on-failure destination. MiniStack tries once and drops the event, though its own `Event` invocations do it right.
3. Secrets that a template has generated leave out punctuation where it says so: people paste them into shells and headers.
4. It stops, and saves its state, when whoever started it ends (standard input is a pipe that only the starter holds). The
   file named as its argument says that all is ready: it is removed then.
"""

import inspect
import json
import os
import signal
import socketserver
import string
import sys
import threading
import time
from importlib.metadata import version

STOP_SECONDS = 20


def refuse(missing):
    sys.exit(f"MiniStack {version('ministack')} is not the version this was written for: {missing}")


def without_nagle():
    if not hasattr(socketserver.StreamRequestHandler, "disable_nagle_algorithm"):
        refuse("socketserver.StreamRequestHandler.disable_nagle_algorithm is gone")
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True


def with_retries_from_eventbridge():
    from ministack.services import eventbridge, lambda_svc

    expected = [
        (eventbridge, "_dispatch_to_lambda", ["arn", "payload"]),
        (lambda_svc, "_get_func_record_for_ref", None),
        (lambda_svc, "_execution_record_for_config", ["func", "config"]),
        (lambda_svc, "invoke_async_with_retry", ["func", "event"]),
    ]
    for module, name, parameters in expected:
        function = getattr(module, name, None)
        if function is None:
            refuse(f"{module.__name__}.{name} is gone")
        if parameters is not None and list(inspect.signature(function).parameters) != parameters:
            refuse(f"{module.__name__}.{name} takes other parameters")
    if "_dispatch_to_lambda(arn, event_payload)" not in inspect.getsource(eventbridge._invoke_target):
        refuse("eventbridge._invoke_target no longer calls _dispatch_to_lambda")

    def dispatch_to_lambda(arn, payload):
        try:
            event = json.loads(payload)
        except (json.JSONDecodeError, TypeError):
            event = {"body": payload}
        function, config, name = lambda_svc._get_func_record_for_ref(arn)
        if not function or not config:
            eventbridge.logger.warning("EventBridge -> Lambda: function %s not found", name)
            return
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), event)

    eventbridge._dispatch_to_lambda = dispatch_to_lambda


def with_punctuation_excluded():
    from ministack.services.cloudformation import provisioners

    generate = getattr(provisioners, "_sm_secret_string", None)
    if generate is None or list(inspect.signature(generate).parameters) != ["props"]:
        refuse("cloudformation.provisioners._sm_secret_string is gone or takes other parameters")

    def secret_string(props):
        wanted = dict(props.get("GenerateSecretString") or {})
        if str(wanted.get("ExcludePunctuation", "")).lower() == "true":
            wanted["ExcludeCharacters"] = wanted.get("ExcludeCharacters", "") + string.punctuation
            props = {**props, "GenerateSecretString": wanted}
        return generate(props)

    provisioners._sm_secret_string = secret_string


def stop_with_starter(ready_file):
    def watch():
        while os.read(0, 4096):
            pass
        try:
            os.remove(ready_file)
        except OSError:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
        # The state is saved early in the shutdown; what still hangs now is a function or a client.
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="starter").start()


def end_functions():
    """Functions are in our process group; one that is busy as we stop would be left behind."""
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(os.getpgrp(), signal.SIGTERM)


def main():
    without_nagle()
    with_retries_from_eventbridge()
    with_punctuation_excluded()
    ready_file = sys.argv[1]
    sys.argv = ["ministack"]
    import ministack.app

    stop_with_starter(ready_file)
    try:
        ministack.app.main()
    finally:
        end_functions()


if __name__ == "__main__":
    main()
