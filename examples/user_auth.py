"""The two endpoints with which an application lets its users sign in and join private channels.

Python 3.9 or newer, nothing to install: `python3 user_auth.py`. Make `user_of` and `may_join` your own; keep the checks.
"""

import hashlib
import hmac
import json
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

KEY = os.environ.get("ROLLCALL_KEY", "app-key")
SECRET = os.environ.get("ROLLCALL_SECRET", "app-secret").encode()
PORT = int(os.environ.get("PORT", "3000"))

# Who is asking is known from the session, never from what the request says of itself.
SESSIONS = {
    "session-of-ada": {"id": "ada", "name": "Ada", "watchlist": ["bob"]},
    "session-of-bob": {"id": "bob", "name": "Bob", "watchlist": ["ada"]},
}


def user_of(headers):
    return SESSIONS.get(headers.get("authorization", "").removeprefix("Bearer "))


def may_join(user, channel):
    return channel in (f"private-inbox-{user['id']}", "private-lobby")


# Both tokens are made with one secret and differ only in shape. Signing a "channel" named `:user::{"id":"admin"}` would
# be signing a sign-in as admin, and a socket id with a `:` in it can smuggle in the name of another channel.
# Always `fullmatch`, since `$` overlooks a newline; and `[0-9]`, since `\d` takes the digits of every script.
SOCKET_ID = re.compile(r"[0-9]+\.[0-9]+")
CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,200}")


def sign(message):
    return f"{KEY}:{hmac.new(SECRET, message.encode(), hashlib.sha256).hexdigest()}"


def answer(path, user, form):
    socket_id = form.get("socket_id", [""])[0]
    if user is None:
        return 403, {"error": "log in first"}
    if not SOCKET_ID.fullmatch(socket_id):
        return 400, {"error": "socket_id must be two numbers joined by a dot"}

    if path == "/pusher/user-auth":
        user_data = json.dumps(user)  # Encoded once: what is signed is what is returned.
        return 200, {"auth": sign(f"{socket_id}::user::{user_data}"), "user_data": user_data}
    if path == "/pusher/auth":
        channel = form.get("channel_name", [""])[0]
        if not CHANNEL.fullmatch(channel):
            return 400, {"error": "channel_name is not a channel name"}
        if not may_join(user, channel):
            return 403, {"error": "this channel is not for you"}
        return 200, {"auth": sign(f"{socket_id}:{channel}")}
    return 404, {"error": "no such endpoint"}


class Endpoint(BaseHTTPRequestHandler):
    timeout = 10  # Seconds that a client may take to send its request.

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not re.fullmatch(r"[0-9]{1,4}", length) or int(length) > 4096:
            return self.reply(413, {"error": "send at most 4096 bytes"})
        form = parse_qs(self.rfile.read(int(length)).decode(errors="replace"))
        self.reply(*answer(self.path, user_of(self.headers), form))

    def reply(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Endpoint)
    print(f"user authentication on http://127.0.0.1:{server.server_port}/pusher/user-auth", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
