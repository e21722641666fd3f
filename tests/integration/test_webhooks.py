"""Transitions are posted to whoever the operator names: signed, in order, again until they are taken, and once at best."""

import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest
from test_events import QUICK, pooled
from test_polling import run_job

from tests.support.admin import Admin
from tests.support.daemon import wait_until

SECRET = "whsec-0123456789abcdef"


class Receiver:
    """A server that takes webhooks, or does not."""

    def __init__(self):
        """Listen and take everything."""
        self.rows, self.answers, outer = [], [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.answers.pop(0) if outer.answers else 200
                outer.rows.append((status, dict(self.headers), body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.3:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.handler = Handler
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.up()

    def up(self, port=None):
        """Serve, again on the same port after `down`."""
        if port:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def down(self):
        """Refuse connections."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def taken(self):
        """Return the documents that were answered 200."""
        return [json.loads(body) for status, _, body in self.rows if status == 200]

    def states(self):
        """Return their states."""
        return [d["state"] for d in self.taken]


@pytest.fixture
def receiver():
    """A receiver for one test."""
    one = Receiver()
    yield one
    one.down()


@pytest.fixture
def config(hub, tmp_path, receiver):
    """A configuration with one webhook."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET + "\n")
    hook = {"url": f"http://127.0.0.1:{receiver.port}/hook?x=1", "secret_file": str(secret)}
    return {**pooled(hub, tmp_path, QUICK), "webhooks": {"ops": hook}}


def watched(hub, daemon):
    """Run a job that an operator watches, and return its id."""
    job = run_job(hub)
    assert Admin(daemon).call("POST", "watched", {"subject": f"job:acme/{job}"})[0] == 200
    return job


def test_signed(hub, make_daemon, config, receiver):
    """A receiver can tell that it comes from us, when, and what happened; no token goes along."""
    daemon = make_daemon(config)
    job = watched(hub, daemon)
    wait_until(lambda: receiver.states() == ["RUNNING"], "the first")
    hub.job_stage(job, "ERROR", "out of memory")
    wait_until(lambda: receiver.states() == ["RUNNING", "ERROR"], "the second")
    _, headers, body = receiver.rows[1]
    document = json.loads(body)
    assert document["subject"] == f"acme/{job}" and document["before"] == "RUNNING"
    assert document["data"] == {"message": "out of memory"}
    assert headers["X-Hubcached-Event"] == "job" and headers["X-Hubcached-Delivery"] == str(document["id"])
    stamp = headers["X-Hubcached-Timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    signed = f"{stamp}.{document['id']}.".encode() + body
    assert headers["X-Hubcached-Signature"] == "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert "Authorization" not in headers and "CANARY" not in str(headers) + body.decode()
    assert SECRET not in daemon.log_text()


def test_again_until_it_is_taken(hub, make_daemon, config, receiver):
    """Refusals, redirects and silence are tried again, in order, and nothing is given twice once it was taken."""
    receiver.answers[:] = [500, 302, 404]
    daemon = make_daemon(config)
    job = watched(hub, daemon)
    wait_until(lambda: len(receiver.rows) >= 2, "it was tried")
    hub.job_stage(job, "COMPLETED")
    wait_until(lambda: receiver.states() == ["RUNNING", "COMPLETED"], "both were taken", 30)
    ids = [json.loads(body)["id"] for _, _, body in receiver.rows]
    assert ids == [ids[0]] * 4 + [ids[-1]]
    assert daemon.metric("webhook_deliveries_total", result="failed") == 3
    assert daemon.metric("webhook_deliveries_total", result="taken") == 2


def test_down_and_up_and_a_restart(hub, make_daemon, config, receiver):
    """What happened while the receiver was away comes when it is back, also over kill -9."""
    daemon = make_daemon(config)
    job = watched(hub, daemon)
    wait_until(lambda: receiver.states() == ["RUNNING"], "the first")
    wait_until(lambda: daemon.metric("webhook_deliveries_total", result="taken") == 1, "it is known")
    receiver.down()
    hub.job_stage(job, "UPDATING")
    daemon.wait_log("webhook.failed")
    hub.job_stage(job, "COMPLETED")
    daemon.wait_log(f"subject=acme/{job} before=UPDATING state=COMPLETED")
    follower = Admin(daemon).events("?since=0")
    wait_until(lambda: len(follower.states()) == 3, "they are in the index")
    daemon.expect_death = True
    daemon.kill()
    daemon.start()
    daemon.wait_log("webhook.failed(.|\n)*webhook.failed")
    receiver.up(receiver.port)
    wait_until(lambda: receiver.states()[-1] == "COMPLETED", "all came", 40)
    # The first may come a second time, if the crash was faster than the note that it was taken.
    ids = [d["id"] for d in receiver.taken]
    assert ids == sorted(ids) and len(set(ids)) == 3, receiver.taken


def test_only_what_it_wants(hub, make_daemon, config, receiver):
    """Topics and states choose; a reload changes them."""
    config["webhooks"]["ops"] |= {"topics": ["job"], "states": ["ERROR"]}
    daemon = make_daemon(config)
    first, second = watched(hub, daemon), watched(hub, daemon)
    hub.job_stage(first, "COMPLETED")
    hub.job_stage(second, "ERROR")
    wait_until(lambda: receiver.states() == ["ERROR"], "one is wanted")
    assert receiver.taken[0]["subject"] == f"acme/{second}"
    config["webhooks"]["ops"]["states"] = ["CANCELED"]
    daemon.write_config({"webhooks": config["webhooks"]})
    daemon.signal(1)
    daemon.wait_log("config.reloaded")
    third = watched(hub, daemon)
    hub.job_stage(third, "CANCELED")
    wait_until(lambda: receiver.states() == ["ERROR", "CANCELED"], "another is wanted")


def test_a_slow_receiver_holds_nobody_up(hub, make_daemon, config, receiver):
    """While a receiver does not answer, streams and clients are served."""
    daemon = make_daemon(config)
    receiver.down()
    stream = Admin(daemon).events("?topic=job")
    job = watched(hub, daemon)
    daemon.wait_log("webhook.failed")
    hub.job_stage(job, "COMPLETED")
    wait_until(lambda: stream.states() == ["RUNNING", "COMPLETED"], "the stream goes on")
    receiver.up(receiver.port)
