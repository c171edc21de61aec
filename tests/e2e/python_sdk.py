"""The official Python SDK behind a pipe.

Reads a line of JSON, {"method", "args"}, for each call, and writes {"result"} or {"error"}.
Arguments: the port of the HTTP API, and the app as JSON.
"""

import json
import sys

import pusher


def main() -> None:
    port, app = int(sys.argv[1]), json.loads(sys.argv[2])
    client = pusher.Pusher(
        app_id=app["id"], key=app["key"], secret=app["secret"], host="127.0.0.1", port=port, ssl=False
    )
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = {"result": getattr(client, call["method"])(*call["args"])}
        except Exception as error:  # Whatever the SDK raises is the answer.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
