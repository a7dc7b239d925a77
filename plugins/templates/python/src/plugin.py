"""A plugin is two pure functions: `transform` says what to send, `interpret` says what an answer means.

The engine does everything that acts: HTTP, credentials, retries, storage. Keep nothing in globals between two calls: the
engine may use an instance again, or not.
"""

from engate import fail, find, manifest, parse_answer, request, retry, send, success
from wit_world import exports
from wit_world.exports.delivery import Attempt, DeliveryInfo, Endpoint, Event, Exchange, Plan, Verdict
from wit_world.exports.plugin import InterpretWhen, Manifest

# Import here what the plugin needs: modules are loaded while it is built, and there is no loading later.


class Plugin(exports.Plugin):
    def describe(self) -> Manifest:
        """Asked once, when the plugin is installed. More to say: `config_schema=`, `event_types=`, `secrets=`."""
        return manifest(
            "{{name}}",
            "0.1.0",
            "{{name}}",
            # Ask for every answer: a 200 may carry a refusal.
            interpret=InterpretWhen.ALWAYS,
        )


class Delivery(exports.Delivery):
    def transform(self, event: Event, delivery: DeliveryInfo, endpoint: Endpoint, attempt: Attempt) -> Plan:
        """Event in, request out.

        Here the payload goes on byte for byte. `parse(event.data)` reads it, and `request(url, dump(value))` sends something
        else. `skip("why")` sends nothing, and so does `raise refusal("some_code", "what is wrong, and the cure")`.
        """
        headers = {"content-type": event.content_type, "x-event-id": event.id}
        return send(request(endpoint.url, event.data, headers))

    def interpret(self, exchange: Exchange) -> Verdict:
        """Answer in, verdict out."""
        error = find(parse_answer(exchange.response), "/error", str)
        if error is not None:
            # Final: the same again would be refused again. `retry(why)` asks for another try.
            return fail("refused_by_partner", error)
        status = exchange.response.status
        return success(None) if 200 <= status < 300 else retry(f"HTTP status {status}")
