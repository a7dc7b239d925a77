"""Tells a partner, in its own words, that an invoice was paid."""

from datetime import datetime, timedelta, timezone
from typing import Any

from engate import (
    Level, disable_endpoint, dump, fail, find, hmac_hex, log, manifest, need, parse, parse_answer, refusal, request, retry, send,
    setting, skip, success,
)
from wit_world import exports
from wit_world.exports.delivery import Attempt, DeliveryInfo, Endpoint, Event, Exchange, Plan, Verdict
from wit_world.exports.plugin import InterpretWhen, Manifest

CONFIG_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "store": {"type": "string", "minLength": 1, "maxLength": 40},
        "utc_offset_minutes": {"type": "integer", "minimum": -720, "maximum": 840},
    },
}
BUSY_MS = 30_000


class Plugin(exports.Plugin):
    def describe(self) -> Manifest:
        return manifest(
            "python-partner",
            "0.1.0",
            "Invoices, in Python",
            config_schema=CONFIG_SCHEMA,
            event_types=["invoice.paid"],
            interpret=InterpretWhen.ALWAYS,
            secrets={"partner-key": "signs x-partner-signature"},
        )


class Delivery(exports.Delivery):
    def transform(self, event: Event, delivery: DeliveryInfo, endpoint: Endpoint, attempt: Attempt) -> Plan:
        paid = parse(event.data)
        if need(paid, "/invoice/internal", bool, default=False):
            return skip("internal invoice")
        body = dump(translated(paid))
        seconds = attempt.now // 1000
        store = {"x-partner-store": name} if (name := setting("/store", "")) else {}
        headers = store | {
            "x-partner-timestamp": str(seconds),
            "x-partner-signature": "sha256=" + hmac_hex("partner-key", f"{seconds}.{body}"),
        }
        return send(request(endpoint.url, body, headers), memo=need(paid, "/invoice/number", str))

    def interpret(self, exchange: Exchange) -> Verdict:
        status = exchange.response.status
        if status == 410:
            return disable_endpoint("the partner is gone")
        taken = 200 <= status < 300
        match parse_answer(exchange.response):
            case {"resultado": "ok", "protocolo": str(protocol)} if taken:
                return success(protocol)
            case {"resultado": "erro", "codigo": "DUPLICADO"}:
                return success(exchange.memo)
            case {"resultado": "erro", "codigo": "OCUPADO"}:
                return retry("the partner is busy", after_ms=BUSY_MS)
            case {"resultado": "erro", "codigo": str(code), **rest}:
                return fail(f"partner_{code.lower()}", find(rest, "/mensagem", str) or "the partner gave no reason")
        if taken:
            log("unreadable answer", Level.WARN, status=status, invoice=exchange.memo)
            return fail("unreadable_answer", "the answer is not the partner's JSON", retryable=True)
        if status == 429 or status >= 500:
            return retry(f"HTTP status {status}")
        return fail("http_status", f"HTTP status {status}")


def translated(paid: Any) -> dict[str, object]:
    """The event in the partner's words."""
    currency = need(paid, "/invoice/currency", str)
    if currency != "BRL":
        raise refusal("unsupported_currency", f"only BRL is taken, not {currency}")
    return {
        "documento": need(paid, "/invoice/number", str),
        "emissao": local_time(need(paid, "/invoice/issued_at", str), setting("/utc_offset_minutes", -180)),
        "valor": reais(need(paid, "/invoice/amount_cents", int)),
        "moeda": currency,
        "cliente": customer(need(paid, "/customer", dict)),
        "itens": [item(each) for each in need(paid, "/items", list)],
    }


def customer(customer: Any) -> dict[str, object]:
    document = need(customer, "/document", str)
    match len(document):
        case 11:
            kind, spelled = "cpf", f"{document[:3]}.{document[3:6]}.{document[6:9]}-{document[9:]}"
        case 14:
            kind, spelled = "cnpj", f"{document[:2]}.{document[2:5]}.{document[5:8]}/{document[8:12]}-{document[12:]}"
        case _:
            raise refusal("invalid_payload", "customer.document has neither 11 nor 14 digits")
    told: dict[str, object] = {"nome": need(customer, "/name", str), kind: spelled}
    if find(customer, "/address", object) is not None:
        zip_code = need(customer, "/address/zip", str)
        told["endereco"] = {
            "municipio": need(customer, "/address/city", str),
            "uf": need(customer, "/address/state", str),
            "cep": f"{zip_code[:5]}-{zip_code[5:]}",
        }
    return told


def item(item: Any) -> dict[str, object]:
    quantity = need(item, "/quantity", int)
    return {
        "codigo": need(item, "/sku", str),
        "descricao": need(item, "/description", str),
        "quantidade": quantity,
        "total": reais(quantity * need(item, "/unit_cents", int)),
    }


def local_time(utc: str, offset_minutes: int) -> str:
    """`2025-02-20T12:30:00Z` as `20/02/2025 09:30`."""
    try:
        moment = datetime.fromisoformat(utc).astimezone(timezone(timedelta(minutes=offset_minutes)))
    except (ValueError, OverflowError) as error:
        raise refusal("invalid_payload", f"invoice.issued_at is no time: {error}") from error
    return f"{moment:%d/%m/%Y %H:%M}"


def reais(cents: int) -> str:
    """`1234567` as `R$ 12.345,67`."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}R$ {whole:,}".replace(",", ".") + f",{rest:02}"
