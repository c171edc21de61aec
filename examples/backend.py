"""A backend with the Pusher SDK for Python.

    python3 backend.py send ada greeting '{"text": "hello"}'
    python3 backend.py terminate ada
"""

import json
import sys

import pusher

rollcall = pusher.Pusher(app_id="1", key="app-key", secret="app-secret", host="127.0.0.1", port=6001, ssl=False)

match sys.argv[1:]:
    case ["send", user]:
        print(rollcall.send_to_user(user, "greeting", {"text": "hello"}))
    case ["send", user, event, data]:
        print(rollcall.send_to_user(user, event, json.loads(data)))
    case ["terminate", user]:
        print(rollcall.terminate_user_connections(user))
    case _:
        sys.exit("usage: python3 backend.py send USER [EVENT JSON] | terminate USER")
