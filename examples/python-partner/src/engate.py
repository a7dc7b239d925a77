"""A thin, typed layer over the bindings that componentize-py makes of Engate's contract."""

import json
import math
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from types import TracebackType
from typing import Any, TypeVar

from componentize_py_types import Err
from wit_world.exports.delivery import (
    Outgoing, Plan, Plan_Send, Plan_Skip, Verdict, Verdict_DisableEndpoint, Verdict_Fail, Verdict_Retry, Verdict_Success,
)
from wit_world.exports.plugin import InterpretWhen, Manifest, Need
from wit_world.imports import config, log as engine_log, secrets
from wit_world.imports.types import HttpRequest, HttpResponse, Payload, Payload_Text, Problem, Retry

T = TypeVar("T")
Level = engine_log.Level
skip = Plan_Skip  # send nothing, for this reason: the delivery ends as skipped
success = Verdict_Success  # taken; perhaps with the partner's own id for it
disable_endpoint = Verdict_DisableEndpoint  # the partner says: stop, for this reason


def manifest(
    id: str, version: str, title: str, *, config_schema: Mapping[str, object] | None = None, event_types: Iterable[str] = (),
    interpret: InterpretWhen = InterpretWhen.NEVER, hosts: Iterable[str] = (),
    credentials: Mapping[str, str] | None = None, secrets: Mapping[str, str] | None = None,
) -> Manifest:
    """What the plugin is and what it asks for; `credentials` and `secrets` map a name to its purpose."""
    schema = {"type": "object", "additionalProperties": False} if config_schema is None else config_schema
    asked = [[Need(*item) for item in (needs or {}).items()] for needs in (credentials, secrets)]
    return Manifest(id, version, title, dump(schema), list(event_types), interpret, list(hosts), *asked)


def _number(text: str) -> float:
    return number if math.isfinite(number := float(text)) else int(text)  # which fails, as it should


def refusal(code: str, message: str, retryable: bool = False) -> Err[Problem]:
    """`raise` it in `transform`: nothing is sent. The code is snake_case; the message says what is wrong, and the cure."""
    return Err(Problem(code, message, retryable))


# Made once, which takes longer than most payloads do: a value as compact JSON, its keys in their order; and JSON's value.
dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_load = json.JSONDecoder(parse_constant=_number, parse_float=_number).decode
_tokens = cache(lambda pointer: [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]])


def parse(payload: Payload) -> Any:
    """The payload's JSON value. What is no JSON is refused as `invalid_payload`."""
    try:
        if not isinstance(payload, Payload_Text):
            raise ValueError("it is no text")
        value = _load(payload.value)
        if "\\u" in payload.value:  # the one way to spell half a surrogate pair, which Python takes and the engine does not
            dump(value).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise refusal("invalid_payload", f"the payload is not JSON: {error}") from error


def parse_answer(response: HttpResponse) -> Any:
    """The JSON value of an answer's body, None where it is no JSON. `match` takes it apart well."""
    try:
        return parse(response.body)
    except Err:
        return None


def find(document: Any, pointer: str, kind: type[T]) -> T | None:
    """What the JSON Pointer names, if it is there and of that type."""
    for token in _tokens(pointer):
        if isinstance(document, dict):
            document = document.get(token)
        elif isinstance(document, list) and token.isdecimal() and int(token) < len(document):
            document = document[int(token)]
        else:
            return None
    # Python takes a bool for an int, and what is read here must not.
    fits = kind in (bool, object) if isinstance(document, bool) else isinstance(document, (float, int) if kind is float else kind)
    return document if fits else None


def need(document: Any, pointer: str, kind: type[T], default: T | None = None) -> T:
    """The same in a payload that must have it, unless there is a default; another type is always `invalid_payload`."""
    if (value := find(document, pointer, kind)) is not None:
        return value
    if find(document, pointer, object) is not None:
        raise refusal("invalid_payload", f"the payload's `{pointer}` is of another type than `{kind.__name__}`")
    if default is None:
        raise refusal("invalid_payload", f"the payload has no `{pointer}`")
    return default


def request(url: str, body: Payload | str, headers: Mapping[str, str] | None = None, method: str = "POST") -> HttpRequest:
    """A request, of `content-type: application/json` unless the headers say otherwise."""
    named = {"content-type": "application/json"} | {name.lower(): value for name, value in (headers or {}).items()}
    payload = Payload_Text(body) if isinstance(body, str) else body
    return HttpRequest(method, url, list(named.items()), payload, compress=False, credential=None)


def send(request: HttpRequest, memo: str | None = None) -> Plan:
    """Send this. The memo, at most 4 KiB, comes back with the answer."""
    return Plan_Send(Outgoing(request, memo))


def retry(reason: str, after_ms: int | None = None) -> Verdict:
    """Again, by the engine's schedule or after that time."""
    return Verdict_Retry(Retry(after_ms, reason))


def fail(code: str, message: str, retryable: bool = False) -> Verdict:
    """Refused; with no further attempt unless it is retryable."""
    return Verdict_Fail(Problem(code, message, retryable))


def setting(pointer: str, default: T) -> T:
    """The setting that the JSON Pointer names. The manifest's `config_schema` sees to its type."""
    return default if (text := config.get(pointer)) is None else json.loads(text)


def hmac_hex(secret: str, text: str) -> str:
    """HMAC-SHA256 of the text under the named secret in lower-case hex, computed by the engine: the key stays there."""
    try:
        return secrets.hmac_sha256(secret, text.encode()).hex()
    except Err as error:
        if isinstance(error.value, secrets.Error_Denied):
            raise refusal("secret_denied", f"the secret `{secret}` is not there for this plugin: create it and grant it") from error
        raise refusal("secret_unavailable", f"the secret `{secret}` cannot be read now: {error.value.value}", True) from error


def log(message: str, level: Level = Level.INFO, **fields: object) -> None:
    """One line in the plugin log of this call."""
    engine_log.write(level, message, [(name, str(value)) for name, value in fields.items()])


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Logs what nobody caught. Python's own way wants the sources and stderr, and a plugin has neither."""
    places = [f"{frame.f_code.co_qualname} line {line}" for frame, line in traceback.walk_tb(trace)]
    if any(place.startswith("<module>") for place in places):  # while it is built it has both
        return sys.__excepthook__(kind, error, trace)
    log(f"{kind.__name__}: {error}", Level.ERROR, at=" > ".join(places))


if sys.platform == "wasi":
    sys.excepthook = _crash
