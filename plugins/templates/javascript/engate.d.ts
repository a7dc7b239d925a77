// The contract as it is in JavaScript: the types of engate.wit (engate:plugin@0.1.0), generated from it.
// - Names are in camelCase, enums are text, a variant is { tag, val }, bytes are a Uint8Array.
// - An option is null where there is none; what goes out may also be left out or be undefined.
// - Where the contract has a result, a function returns its value or throws an Error whose `payload` is its error.
// - 64-bit numbers are plain numbers: exact up to 2^53, which is enough for times in milliseconds.

// What the script engine has and TypeScript's own libraries do not list.
/** Latin-1 text as Base64. */
declare function btoa(latin1: string): string;
interface JSON {
  /** `context.source` is a number, text, true, false or null as it is spelled. */
  parse(text: string, reviver: (this: any, key: string, value: any, context: { source: string }) => any): any;
  /** A value that `stringify` writes as it is spelled here. */
  rawJSON(source: string): unknown;
}

/** What every other interface speaks of. */
declare module "engate:plugin/types@0.1.0" {
  /** Milliseconds since the Unix epoch, by the host's clock. */
  export type Timestamp = number;
  /** Compact JSON text. */
  export type Json = string;
  /** Header or label: name (headers in lower case), value. */
  export type Pair = [string, string];
  /** Text where it is valid UTF-8 (JSON, XML, forms): script guests handle it several times faster. */
  export type Payload =
    /** No body at all. */
    | { tag: "empty" }
    /** Valid UTF-8. */
    | { tag: "text"; val: string }
    /** Anything else. */
    | { tag: "bytes"; val: Uint8Array };
  /** One HTTP request, which the engine sends. */
  export interface HttpRequest {
    /** `POST`, `PUT` and so on. */
    method: string;
    /** Absolute; must match the endpoint's origin or a granted host. */
    url: string;
    /** `host`, `content-length` and `authorization` are the engine's. */
    headers: Pair[];
    /** Sent byte for byte. */
    body: Payload;
    /** The engine gzips the body and sets `content-encoding`. */
    compress: boolean;
    /** A named profile the engine applies; none: the endpoint's own. */
    credential?: string | null | undefined;
  }
  /** What came back. A request that got no answer never reaches the plugin. */
  export interface HttpResponse {
    /** The HTTP status code. */
    status: number;
    /** Names in lower case. */
    headers: Pair[];
    /** Already inflated. */
    body: Payload;
    /** The body was longer than the cap, and is cut. */
    truncated: boolean;
    /** From the start of the request to the end of the body, in ms. */
    elapsedMs: number;
  }
  /** A refusal by the plugin. */
  export interface Problem {
    /** A stable snake_case label, used in metrics and filters. */
    code: string;
    /** A sentence for people: what is wrong, and the cure. */
    message: string;
    /** false: no further attempt. */
    retryable: boolean;
  }
  /** Try again later. */
  export interface Retry {
    /** none: the engine's schedule, Retry-After already applied. The engine clamps it. */
    afterMs?: number | null | undefined;
    /** A sentence for people. */
    reason: string;
  }
  /** What happened to a record. */
  export type Operation =
    /** It was created or changed. */
    | "upsert"
    /** It is gone. */
    | "delete";
  /** One record of a table or feed. */
  export interface Change {
    /** The record's key as text. */
    key: string;
    /** What happened to it. */
    operation: Operation;
    /** The whole record as a JSON object, never a patch. */
    data: Json;
  }
}

/** Lines in the plugin log of this call. */
declare module "engate:plugin/log@0.1.0" {
  /** How much it matters. */
  export type Level = "debug" | "info" | "warn" | "error";
  /** Writes one line; `fields` are name and value. At most 8 KiB per call are kept. */
  export function write(level: Level, message: string, fields: Array<[string, string]>): void;
}

/**
 * Settings: installation, then integrator, then endpoint or job, merged; already valid against the
 * manifest's config-schema. No listing.
 */
declare module "engate:plugin/config@0.1.0" {
  /** JSON Pointer -> compact JSON; the empty pointer is the whole document. */
  export function get(pointer: string): string | null;
}

/** Secrets granted by name. No listing. */
declare module "engate:plugin/secrets@0.1.0" {
  /** Why there is no answer. */
  export type SecretsError =
    /** Not granted, or there is no such secret: the two look the same. */
    | { tag: "denied" }
    /** It should be there, and cannot be read now. */
    | { tag: "unavailable"; val: string };
  /**
   * HMAC-SHA256 of `data` under the named secret, 32 bytes. To be preferred: the key stays outside.
   * @throws an Error whose `payload` is a SecretsError.
   */
  export function hmacSha256(name: string, data: Uint8Array): Uint8Array;
  /**
   * The secret itself. Audited; refused unless the operator allows it.
   * @throws an Error whose `payload` is a SecretsError.
   */
  export function reveal(name: string): string;
}

/**
 * Small private state per (installation, endpoint or job). Writes are buffered and stored in the
 * same transaction as the verdict or the checkpoint, so a retry never sees half of one.
 */
declare module "engate:plugin/state@0.1.0" {
  /** Why a call was refused. */
  export type StateError =
    /** The key or the value is longer than the engine takes. */
    | { tag: "too-large" }
    /** All keys together would be more than the engine keeps (64 KiB). */
    | { tag: "quota" }
    /** The store cannot be reached now. */
    | { tag: "unavailable"; val: string };
  /**
   * The value under `key`, this call's own writes included.
   * @throws an Error whose `payload` is a StateError.
   */
  export function get(key: string): Uint8Array | null;
  /**
   * Sets the value under `key`.
   * @throws an Error whose `payload` is a StateError.
   */
  export function put(key: string, value: Uint8Array): void;
  /**
   * Removes `key`; it need not exist.
   * @throws an Error whose `payload` is a StateError.
   */
  function remove(key: string): void;
  export { remove as delete };
}

/**
 * Blocking, buffered HTTP done by the engine: granted hosts, address guard, pooling, TLS,
 * credentials (one refresh on 401), no redirects. Only for `source`.
 */
declare module "engate:plugin/http@0.1.0" {
  import type { HttpRequest, HttpResponse } from "engate:plugin/types@0.1.0";
  /** Why there is no response. */
  export type HttpError =
    /** The host is not granted, or its address is not allowed. */
    | { tag: "denied"; val: string }
    /** The name did not resolve. */
    | { tag: "dns" }
    /** No connection. */
    | { tag: "connect" }
    /** The TLS handshake failed. */
    | { tag: "tls" }
    /** The deadline passed. */
    | { tag: "timeout" }
    /** The response is longer than the engine takes. */
    | { tag: "too-large" }
    /** This call has used up its requests. */
    | { tag: "budget" }
    /** Anything else, in words. */
    | { tag: "other"; val: string };
  /**
   * Sends the request and waits for the whole response.
   * @throws an Error whose `payload` is an HttpError.
   */
  export function send(request: HttpRequest): HttpResponse;
}

/** Asked once, at install, in a throw-away instance without grants; the answer is stored. */
declare module "engate:plugin/plugin@0.1.0" {
  import type { Json } from "engate:plugin/types@0.1.0";
  /** Which responses `interpret` wants to see. */
  export type InterpretWhen =
    /** 2xx is success; the engine's table decides the rest. */
    | "never"
    /** 2xx is success; ask for every other status. */
    | "non-2xx"
    /** Ask for every response: a 200 may carry an error. */
    | "always";
  /** Something the operator is asked to grant. */
  export interface Need {
    /** The name under which the plugin asks for it. */
    name: string;
    /** One sentence: what for. */
    purpose: string;
  }
  /** What the plugin is and what it asks for. */
  export interface Manifest {
    /** kebab-case, optionally "vendor.name"; must equal the installed name. */
    id: string;
    /** The plugin's own SemVer. */
    version: string;
    /** The name that people see. */
    title: string;
    /** JSON Schema 2020-12 of the settings. */
    configSchema: Json;
    /** "order.created", "order.*"; empty: any. */
    eventTypes: string[];
    /** Which responses `interpret` wants to see. */
    interpret: InterpretWhen;
    /** Asked, not granted: "https://*.example.com". The endpoint's own origin needs no asking. */
    hosts: string[];
    /** Named credential profiles. */
    credentials: Need[];
    /** Named secrets. */
    secrets: Need[];
  }
  /** What a plugin exports under the name `plugin`. */
  export interface Plugin {
    /** Pure, and needs nothing: no import answers here. */
    describe(): Manifest;
  }
}

/**
 * Pure: same input, same output. Called again for every attempt, so what expires (a signed link) is
 * minted fresh. Transport errors never reach the plugin; the engine retries them.
 */
declare module "engate:plugin/delivery@0.1.0" {
  import type { Timestamp, Pair, Payload, HttpRequest, HttpResponse, Problem, Retry } from "engate:plugin/types@0.1.0";
  /** One fact. */
  export interface Event {
    /** The engine's id of it. */
    id: string;
    /** The key of its event type in the catalogue. */
    eventType: string;
    /** What it is about. */
    subject?: string | null | undefined;
    /** When it happened, by the producer. */
    occurredAt: Timestamp;
    /** The media type of `data`. */
    contentType: string;
    /** Byte for byte what the producer gave: key order and number spelling survive. */
    data: Payload;
    /** The producer's labels, and `event-type.title`, `.process`, `.macro-process` of the catalogue. */
    labels: Pair[];
  }
  /** Where it goes. */
  export interface Endpoint {
    /** The engine's id of it. */
    id: string;
    /** The registered URL. */
    url: string;
    /** The slug of the integrator it belongs to. */
    integrator: string;
    /** The operator's labels. */
    labels: Pair[];
  }
  /** One event for one endpoint. */
  export interface DeliveryInfo {
    /** What goes out as `webhook-id`, the same on every attempt. */
    id: string;
    /** The running number people see. */
    code: number;
    /** When the engine took it. */
    createdAt: Timestamp;
    /** The id of the tenant it belongs to. */
    tenant: string;
    /** The producer's, handed through. */
    correlationId?: string | null | undefined;
  }
  /** One try. */
  export interface Attempt {
    /** 1 for the first. */
    number: number;
    /** When the first try was made. */
    firstAt: Timestamp;
    /** The only clock there is. */
    now: Timestamp;
  }
  /** A request, and what `interpret` should know of it. */
  export interface Outgoing {
    /** What to send. */
    request: HttpRequest;
    /** At most 4 KiB, handed back to `interpret`. */
    memo?: string | null | undefined;
  }
  /** What is to be done with an event. */
  export type Plan =
    /** Send this. */
    | { tag: "send"; val: Outgoing }
    /** Send nothing, for this reason: the delivery ends as skipped. */
    | { tag: "skip"; val: string };
  /** A request that was answered. */
  export interface Exchange {
    /** The event's id. */
    eventId: string;
    /** The key of its event type. */
    eventType: string;
    /** What it is about. */
    subject?: string | null | undefined;
    /** The delivery. */
    delivery: DeliveryInfo;
    /** Where it went. */
    endpoint: Endpoint;
    /** Which try. */
    attempt: Attempt;
    /** What `transform` left for us. */
    memo?: string | null | undefined;
    /** The answer. */
    response: HttpResponse;
  }
  /** What an answer means. */
  export type Verdict =
    /** Taken; perhaps with the partner's own id for what it took. */
    | { tag: "success"; val?: string | null | undefined }
    /** Not now. */
    | { tag: "retry"; val: Retry }
    /** Refused; retryable = false: no further attempt. */
    | { tag: "fail"; val: Problem }
    /** The partner says: stop. */
    | { tag: "disable-endpoint"; val: string };
  /** What a plugin exports under the name `delivery`. */
  export interface Delivery {
    /**
     * Event in, request out.
     * @throws an Error whose `payload` is a Problem, to refuse.
     */
    transform(event: Event, delivery: DeliveryInfo, endpoint: Endpoint, attempt: Attempt): Plan;
    /** Response in, verdict out; called where the manifest's `interpret` asks for it. */
    interpret(exchange: Exchange): Verdict;
  }
}

/**
 * The far side of a sync job. The engine owns loop, clock, slicing and checkpoint:
 * page -> slices -> encode -> HTTP -> settle; then ONE transaction {checkpoint, state, counters}.
 */
declare module "engate:plugin/sink@0.1.0" {
  import type { Timestamp, Pair, Change, HttpRequest, HttpResponse, Problem, Retry } from "engate:plugin/types@0.1.0";
  /** What a column holds. */
  export type ColumnKind = "text" | "integer" | "decimal" | "boolean" | "date" | "timestamp" | "binary" | "json";
  /** One column of the source table. */
  export interface Column {
    /** Its name in the source. */
    name: string;
    /** What it holds. */
    kind: ColumnKind;
    /** Whether it may be null. */
    nullable: boolean;
  }
  /** One table or feed inside the job. */
  export interface StreamInfo {
    /** Its name in the job. */
    name: string;
    /** Its name at the far side. */
    target: string;
    /** The columns that make a record's key. */
    key: string[];
    /** All columns that are sent. */
    columns: Column[];
  }
  /** One run over the stream, from a checkpoint to the end. */
  export interface Pass {
    /** The same through the whole pass, also after a restart. */
    id: string;
    /** What is being sent. */
    stream: StreamInfo;
    /** company, branch ... */
    partition: Pair[];
    /** Start of the range this pass covers. */
    rangeStart: Timestamp;
    /** When the pass began. */
    startedAt: Timestamp;
  }
  /** What goes into one request. */
  export interface Page {
    /** Idempotency key: hash(job, stream, partition, epoch, first key, last key). */
    id: string;
    /**
     * 1, 2, 3 ... in the pass, no gap; a repeated page keeps its number, the halves of a split page
     * take the next free numbers, the split page's own goes to the first half.
     */
    sequence: number;
    /** The records. */
    changes: Change[];
  }
  /** One record that the far side did not take. */
  export interface Rejection {
    /** Its place in the page, from 0. */
    index: number;
    /** Why. */
    problem: Problem;
  }
  /** What an answer means for its page. */
  export type Settlement =
    /** All taken but these, which go to quarantine. */
    | { tag: "accepted"; val: Rejection[] }
    /** Not now. */
    | { tag: "retry"; val: Retry }
    /** Too large, or one of them is bad: halve it and try again. */
    | { tag: "split"; val: string }
    /** Stops the stream; the checkpoint stays. */
    | { tag: "fail"; val: Problem };
  /** What a pass came to. */
  export interface Totals {
    /** Records sent. */
    records: number;
    /** Requests made. */
    requests: number;
    /** When the pass began. */
    startedAt: Timestamp;
    /** When its last page was acknowledged. */
    endedAt: Timestamp;
  }
  /** What a plugin exports under the name `sink`. */
  export interface Sink {
    /**
     * Requests that prepare the target (create or widen its schema); on a new epoch or a schema change.
     * @throws an Error whose `payload` is a Problem, to refuse.
     */
    open(info: StreamInfo): HttpRequest[];
    /**
     * Page in, request out.
     * @throws an Error whose `payload` is a Problem, to refuse.
     */
    encode(pass: Pass, page: Page): HttpRequest;
    /** Response in, settlement out; `size` is the number of changes in the page. */
    settle(passId: string, pageId: string, size: number, response: HttpResponse): Settlement;
    /**
     * After the last page is acknowledged; none: the target needs no closing request.
     * @throws an Error whose `payload` is a Problem, to refuse.
     */
    close(pass: Pass, totals: Totals): HttpRequest | null;
  }
}

/** The near side of a sync or polling job, where the engine's own table source does not fit. */
declare module "engate:plugin/source@0.1.0" {
  import type { Timestamp, Change, Problem } from "engate:plugin/types@0.1.0";
  /** Opaque resume point, at most 4 KiB, a total order such as (updated-at, id). */
  export type Cursor = Uint8Array;
  /** What one pull found. */
  export interface Page {
    /** What changed; may be empty. */
    changes: Change[];
    /** Resume here once these are accepted. */
    next: Cursor;
    /** true: pull again now; false: the pass is over. */
    more: boolean;
  }
  /** What a plugin exports under the name `source`. */
  export interface Source {
    /**
     * The next changes after the cursor; none: from the beginning.
     * @throws an Error whose `payload` is a Problem, to refuse.
     */
    pull(stream: string, after: Cursor | null, maxChanges: number, now: Timestamp): Page;
  }
}

/** A partner calls us: check the call, turn it into events, answer it. */
declare module "engate:plugin/inbound@0.1.0" {
  import type { Timestamp, Pair, Payload, Problem } from "engate:plugin/types@0.1.0";
  /** What came in. */
  export interface Call {
    /** `POST`, `GET` and so on. */
    method: string;
    /** Without the query. */
    path: string;
    /** Without the `?`. */
    query: string;
    /** Names in lower case. */
    headers: Pair[];
    /** Already inflated. */
    body: Payload;
    /** The caller's IP address. */
    remoteAddress: string;
    /** The only clock there is. */
    now: Timestamp;
  }
  /** A fact to be accepted. */
  export interface NewEvent {
    /** A repeat is taken once. */
    idempotencyKey?: string | null | undefined;
    /** The key of its event type. */
    eventType: string;
    /** What it is about. */
    subject?: string | null | undefined;
    /** none: now. */
    occurredAt?: Timestamp | null | undefined;
    /** Name and value. */
    labels: Pair[];
    /** Handed through to every delivery. */
    correlationId?: string | null | undefined;
    /** The media type of `data`. */
    contentType: string;
    /** Kept byte for byte. */
    data: Payload;
  }
  /** What the caller gets, and what the engine keeps. */
  export interface Answer {
    /** The HTTP status code. */
    status: number;
    /** Names in lower case. */
    headers: Pair[];
    /** Sent byte for byte. */
    body: Payload;
    /** Accepted all or none. */
    events: NewEvent[];
  }
  /** What a plugin exports under the name `inbound`. */
  export interface Inbound {
    /**
     * Events are committed before the answer leaves.
     * @throws an Error whose `payload` is a Problem, to refuse.
     */
    receive(call: Call): Answer;
  }
}
