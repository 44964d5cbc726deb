"""Starts MiniStack as the local cloud needs it: what it cannot be told by its configuration.

1. Without Nagle's algorithm: its Lambda runtime API writes header and body separately, which costs every invocation of a
   native function 40 ms of delayed acknowledgement.
2. EventBridge hands events to Lambda as AWS does: asynchronously, tried again after an error, then given to the function's
   on-failure destination. MiniStack tries once and drops the event, though its own `Event` invocations do it right.
3. Secrets that a template has generated leave out punctuation where it says so: people paste them into shells and headers.
4. A burst of events does not start a process for each: as many environments of a function as this machine has use for, and
   the events behind them wait their turn. (300 sockets at once were 300 processes, and none of them got anywhere.)
5. Environments that wait for an event cost nothing: MiniStack looks after each of them twenty times a second, and waits after
   each event for logs that it may not have written.
6. With IAM enforced, who may do a thing to one message of a queue may do it to a batch: on AWS there are no actions of their own
   for batches.
7. It stops, and saves its state, when whoever started it ends (standard input is a pipe that only the starter holds). The
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
# Environments of one function. They are small and mostly wait for DynamoDB, but MiniStack, which answers them, has one core.
ENVIRONMENTS = max(16, 4 * (os.cpu_count() or 1))


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


def with_few_environments():
    from ministack.services import lambda_svc

    run = getattr(lambda_svc, "_execute_function_provided_warm", None)
    if run is None or list(inspect.signature(run).parameters) != ["func", "event", "request_id"]:
        refuse("lambda_svc._execute_function_provided_warm is gone or takes other parameters")
    if "_execute_function_provided_warm(func, event, request_id)" not in inspect.getsource(
        lambda_svc._execute_function_dispatch
    ):
        refuse("lambda_svc._execute_function_dispatch no longer calls _execute_function_provided_warm")
    gates, guard = {}, threading.Lock()

    def run_in_turn(func, event, request_id):
        # Waiting is safe: each invocation has a thread of its own, and no function of ours invokes another.
        name = (func.get("config") or func).get("FunctionName", "")
        with guard:
            gate = gates.setdefault(name, threading.Semaphore(ENVIRONMENTS))
        with gate:
            return run(func, event, request_id)

    lambda_svc._execute_function_provided_warm = run_in_turn


def without_polling():
    import queue
    import socket
    import types

    from ministack.core import lambda_runtime

    worker = lambda_runtime.ProvidedWorker
    source = inspect.getsource(worker)
    for expected in ("queue.Queue(maxsize=1)", "timeout=0.1", 'kwargs={"poll_interval": 0.1}', "_PROVIDED_POLL"):
        if expected not in source:
            refuse(f"lambda_runtime.ProvidedWorker has no {expected}")

    class PatientQueue(queue.Queue):
        """What an environment waits on for its next event. An event wakes it; the rest is to see that it was stopped."""

        def get(self, block=True, timeout=None):
            return super().get(block, max(timeout, 2.0) if self.maxsize == 1 and timeout else timeout)

    lambda_runtime.queue = types.SimpleNamespace(Queue=PatientQueue, Empty=queue.Empty, Full=queue.Full)
    # How soon a process that died is noticed; its answer wakes whoever waits for it.
    lambda_runtime._PROVIDED_POLL = 0.25

    # A server that waits for a connection needs no look at whether it shall stop: it is told so by a connection.
    serve = socketserver.BaseServer.serve_forever

    def serve_forever(self, poll_interval=0.5):
        serve(self, 3600)

    def shutdown(self):
        self._BaseServer__shutdown_request = True
        try:
            socket.create_connection(self.server_address, 1).close()
        except OSError:
            pass
        self._BaseServer__is_shut_down.wait(5)

    socketserver.BaseServer.serve_forever = serve_forever
    socketserver.BaseServer.shutdown = shutdown

    # Lines of an invocation are in the pipe before its answer is there: what is waited for is the thread that reads it.
    drain = lambda_runtime.Worker._drain_stderr_bounded
    if list(inspect.signature(drain).parameters) != ["self", "first_line_wait", "idle_confirm", "hard_cap"]:
        refuse("lambda_runtime.Worker._drain_stderr_bounded takes other parameters")
    drain.__defaults__ = (0.004, 0.002, 0.1)


def with_actions_of_aws():
    from ministack.core import iam_actions

    action_of = getattr(iam_actions, "extract_iam_action", None)
    if action_of is None:
        refuse("core.iam_actions.extract_iam_action is gone")
    batches = {f"sqs:{name}Batch": f"sqs:{name}" for name in ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")}

    def extract_iam_action(*arguments, **named):
        action = action_of(*arguments, **named)
        return batches.get(action, action)

    iam_actions.extract_iam_action = extract_iam_action


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
    with_few_environments()
    without_polling()
    with_actions_of_aws()
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
