"""Natively, without a component: `python -m unittest`, with fakes for what the engine would answer.

The golden files of `engate plugin test` show what goes out; here is what is easier to say in Python.
"""

import hmac
import json
import sys
import unittest
from pathlib import Path
from unittest.mock import patch

PROJECT = Path(__file__).parent.parent
sys.path[:0] = [str(PROJECT / "src"), str(PROJECT / "bindings")]

import engate
import plugin
from componentize_py_types import Err
from wit_world.exports.delivery import Attempt, DeliveryInfo, Endpoint, Event, Exchange, Plan, Plan_Send, Verdict
from wit_world.imports import config, log, secrets
from wit_world.imports.types import HttpResponse, Payload, Payload_Bytes, Payload_Empty, Payload_Text

NOW_MS = 1_740_052_800_999
INFO = DeliveryInfo("dlv_1", 1, NOW_MS, "default", None)
ENDPOINT = Endpoint("ep_1", "https://partner.example/webhook", "partner", [])
ATTEMPT = Attempt(1, NOW_MS, NOW_MS)
PAID = {
    "invoice": {"number": "NF-1", "issued_at": "2025-02-20T12:30:00Z", "amount_cents": 5, "currency": "BRL"},
    "customer": {"name": "Ana", "document": "12345678909"},
    "items": [],
}


def transform(payload: Payload) -> Plan:
    event = Event("evt_1", "invoice.paid", None, NOW_MS, "application/json", payload, [])
    return plugin.Delivery().transform(event, INFO, ENDPOINT, ATTEMPT)


def interpret(status: int, body: Payload) -> Verdict:
    response = HttpResponse(status, [], body, truncated=False, elapsed_ms=1)
    return plugin.Delivery().interpret(Exchange("evt_1", "invoice.paid", None, INFO, ENDPOINT, ATTEMPT, "NF-1", response))


class PluginTest(unittest.TestCase):
    def setUp(self) -> None:
        self.settings: dict[str, object] = {}
        self.enterContext(patch.object(config, "get", self.setting))
        self.enterContext(patch.object(secrets, "hmac_sha256", lambda name, data: hmac.digest(name.encode(), data, "sha256")))
        self.enterContext(patch.object(log, "write"))

    def setting(self, pointer: str) -> str | None:
        name = pointer.removeprefix("/")
        return json.dumps(self.settings[name]) if name in self.settings else None

    def refused(self, payload: Payload, code: str = "invalid_payload", retryable: bool = False) -> str:
        with self.assertRaises(Err) as caught:
            transform(payload)
        problem = caught.exception.value
        self.assertEqual((problem.code, problem.retryable), (code, retryable))
        return str(problem.message)

    def test_the_signature_is_over_time_and_body(self) -> None:
        self.settings = {"store": "loja-7"}
        plan = transform(Payload_Text(json.dumps(PAID)))
        assert isinstance(plan, Plan_Send)
        request = plan.value.request
        assert isinstance(request.body, Payload_Text)
        signed = hmac.digest(b"partner-key", f"1740052800.{request.body.value}".encode(), "sha256")
        headers = dict(request.headers)
        self.assertEqual(headers["x-partner-signature"], f"sha256={signed.hex()}")
        self.assertEqual(headers["x-partner-store"], "loja-7")
        self.assertEqual(plan.value.memo, "NF-1")

    def test_what_is_not_such_json_is_refused(self) -> None:
        for text in ["", "{", "[]", "null", '{"invoice":NaN}', '{"invoice":"\\ud800"}', "[" * 100_000]:
            with self.subTest(text=text[:30]):
                self.refused(Payload_Text(text))
        self.refused(Payload_Bytes(b"\xff"))
        self.refused(Payload_Empty())

    def test_a_refusal_names_the_place(self) -> None:
        def without(part: str, **changes: object) -> Payload:
            return Payload_Text(json.dumps(PAID | {part: PAID[part] | changes}))  # type: ignore[operator]

        self.assertIn("`/invoice/amount_cents`", self.refused(without("invoice", amount_cents=True)))
        self.assertIn("`/invoice/number`", self.refused(without("invoice", number=None)))
        self.assertIn("`/invoice/internal`", self.refused(without("invoice", internal="no")))
        self.assertIn("issued_at", self.refused(without("invoice", issued_at="yesterday")))
        self.assertIn("`/address/zip`", self.refused(without("customer", address={})))

    def test_a_secret_that_is_missing_is_final_and_one_out_of_reach_is_not(self) -> None:
        payload = Payload_Text(json.dumps(PAID))
        with patch.object(secrets, "hmac_sha256", side_effect=Err(secrets.Error_Denied())):
            self.refused(payload, "secret_denied")
        with patch.object(secrets, "hmac_sha256", side_effect=Err(secrets.Error_Unavailable("sealed"))):
            self.assertIn("sealed", self.refused(payload, "secret_unavailable", retryable=True))

    def test_an_answer_of_another_shape_goes_by_its_status(self) -> None:
        unreadable = engate.fail("unreadable_answer", "the answer is not the partner's JSON", retryable=True)
        bodies: list[Payload] = [Payload_Empty(), Payload_Bytes(b"\xff"), Payload_Text("[]"), Payload_Text('{"resultado":"ok"}')]
        for body in bodies:
            with self.subTest(body=body):
                self.assertEqual(interpret(200, body), unreadable)
                self.assertEqual(interpret(500, body), engate.retry("HTTP status 500"))
        self.assertEqual(interpret(500, Payload_Text('{"resultado":"erro","codigo":"DUPLICADO"}')), engate.success("NF-1"))

    def test_money(self) -> None:
        for cents, text in [(0, "R$ 0,00"), (-5, "-R$ 0,05"), (123_456_789, "R$ 1.234.567,89"), (-100_000, "-R$ 1.000,00")]:
            self.assertEqual(plugin.reais(cents), text)


class PointerTest(unittest.TestCase):
    def test_find_takes_the_type_into_account(self) -> None:
        document = {"a/b": [{"~": 1}, True, 2.5, None]}
        self.assertEqual(engate.find(document, "/a~1b/0/~0", int), 1)
        self.assertEqual(engate.find(document, "/a~1b/0/~0", float), 1)
        self.assertIsNone(engate.find(document, "/a~1b/1", int))
        self.assertIs(engate.find(document, "/a~1b/1", bool), True)
        self.assertEqual(engate.find(document, "", dict), document)
        for nowhere in ["/a", "/a~1b/4", "/a~1b/-1", "/a~1b/x", "/a~1b/2/0", "/a~1b/3"]:
            self.assertIsNone(engate.find(document, nowhere, object), nowhere)

    def test_need_takes_a_default_for_what_is_missing_only(self) -> None:
        self.assertIs(engate.need({}, "/a", bool, default=False), False)
        with self.assertRaises(Err):
            engate.need({"a": "yes"}, "/a", bool, default=False)


if __name__ == "__main__":
    unittest.main()
