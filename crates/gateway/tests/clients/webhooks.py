"""A receiver that verifies webhooks with PyPI's standardwebhooks. It prints its address, and ends
when it has received as many as WEBHOOKS states."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
verified = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        event = webhook.verify(body, headers)
        assert event["data"]["message"]["content"] == "hello €", event
        try:
            webhook.verify(body.replace('"type"', '"kind"'), headers)
        except WebhookVerificationError:
            pass
        else:
            raise AssertionError("a changed body was accepted")
        verified.append(event["type"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


with HTTPServer(("127.0.0.1", 0), Handler) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}/hook", flush=True)
    while len(verified) < int(os.environ["WEBHOOKS"]):
        server.handle_request()
print("verified", *verified)
