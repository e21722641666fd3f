"""Server-sent events: lists that grow, and bodies that are written while they do."""

import json
import threading
import time

from .wire import PeerGone, Response

CHANGED = threading.Condition()


class Feed:
    """Rows that streams read from the beginning and wait for until the feed has ended."""

    def __init__(self, rows=(), ended=False):
        """Start with some rows; one that has ended gives only those."""
        self.rows, self.ended = list(rows), ended

    def add(self, *rows):
        """Append rows and wake the streams."""
        with CHANGED:
            self.rows += rows
            CHANGED.notify_all()

    def end(self, ended=True):
        """Let the streams end after the last row, or open the feed again."""
        with CHANGED:
            self.ended = ended
            CHANGED.notify_all()


class EventStream:
    """A body of events; it has no length, and its bytes come from `pieces`."""

    def __init__(self, feed, keep_alive, last=None):
        """Send the rows of a feed (or only the last so many), with a comment after so many seconds of silence."""
        self.feed, self.keep_alive = feed, keep_alive
        self.start = 0 if last is None else max(0, len(feed.rows) - last)

    def __len__(self):
        """Return 0, since the length is not known before the end."""
        return 0

    def pieces(self, conn, record):
        """Yield events and comments until the feed ends; raise PeerGone if the client leaves."""
        position, silent = self.start, time.monotonic()
        while True:
            with CHANGED:
                rows, ended = self.feed.rows[position:], self.feed.ended
                if not rows and not ended:
                    record.hold()
                    CHANGED.wait(0.02)
            for row in rows:
                record.go_on()
                yield b"data: " + json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
                silent = time.monotonic()
            position += len(rows)
            if not rows and ended:
                return
            if time.monotonic() - silent >= self.keep_alive:
                yield b": keep-alive\n\n"
                silent = time.monotonic()
            if conn.gone():
                raise PeerGone


def answer(ctx, feed):
    """Return the answer that streams a feed; `tail` in the query asks for its last rows only."""
    last = ctx.number("tail", None)
    headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache, no-transform")]
    return Response(200, headers, EventStream(feed, ctx.quirks["keep_alive"], last), chunked=True)
