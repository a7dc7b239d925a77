"""A developer's first steps on a client generated from /openapi.json."""

import json
import sys
import time

from httpx import Timeout

from engate_client import AuthenticatedClient
from engate_client.api.deliveries import attempt_list, delivery_list
from engate_client.api.endpoints import endpoint_create, endpoint_get, endpoint_update
from engate_client.api.integrators import integrator_create
from engate_client.models import EndpointChangeBody, EndpointNewBody, EventNew, EventTaken, IntegratorNew, Problem

url, token, partner = sys.argv[1:4]
# Its own five seconds are short on a machine that builds and tests at once.
api = AuthenticatedClient(base_url=url, token=token, timeout=Timeout(60))


def taken(answer, status):
    """The answer's content, which must have this status."""
    assert answer.status_code == status, (answer.status_code, answer.content)
    assert answer.parsed is not None and not isinstance(answer.parsed, Problem), answer.content
    return answer.parsed


integrator = taken(
    integrator_create.sync_detailed(
        client=api, body=IntegratorNew(slug="python", name="Python", services=["billing"]), idempotency_key="python-1"
    ),
    201,
)
new = EndpointNewBody.from_dict(
    {"integrator": integrator.slug, "url": partner, "event_types": ["client.made"], "auth": {"type": "none"}}
)
endpoint = taken(endpoint_create.sync_detailed(client=api, body=new), 201)
assert endpoint.signing_secret.startswith("whsec_")

tag = endpoint_get.sync_detailed(endpoint.id, client=api).headers["etag"]
edit = lambda text: endpoint_update.sync_detailed(
    endpoint.id, client=api, body=EndpointChangeBody(description=text), if_match=tag
)
assert taken(edit("first"), 200).description == "first"
late = edit("second")
assert late.status_code == 412 and late.parsed.code == "precondition_failed", late.content

# The generator has no call for a body of several media types; its models and its client do.
event = EventNew.from_dict({"type": "client.made", "payload": {"by": "python"}})
answer = api.get_httpx_client().post("/v1/events", json=event.to_dict())
assert answer.status_code == 202, answer.content
sent = EventTaken.from_dict(answer.json())
assert sent.deliveries >= 1, sent

patience = time.monotonic() + 120
while time.monotonic() < patience:
    found = taken(delivery_list.sync_detailed(client=api, event=sent.id), 200)
    if found.items and found.items[0].state == "succeeded":
        attempts = taken(attempt_list.sync_detailed(found.items[0].id, client=api), 200)
        print(json.dumps({"delivery": found.items[0].id, "status": attempts.items[0].response.status}))
        break
    time.sleep(0.05)
else:
    raise SystemExit("the delivery did not succeed")
