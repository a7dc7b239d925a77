// The contract `engate:plugin@0.1.0`, world `integrator`, by hand: its types, and how each lies in memory (the
// canonical ABI of the component model). Glue: there is nothing in it about a partner, take it as it is.
//
// Strings are UTF-16 here and in the component (`encoding = "utf16"` in engate-plugin.toml): the engine converts.
// Left out: the imports `state` and `secrets.reveal`.

/** Reads a record, member after member, each at its alignment. */
export class Reader {
  constructor(private at: usize) {}

  align(to: usize): void {
    this.at = (this.at + to - 1) & ~(to - 1);
  }
  next<T>(): T {
    this.align(sizeof<T>());
    const value = load<T>(this.at);
    this.at += sizeof<T>();
    return value;
  }
  /** Which case of a variant; its value starts at the alignment of the largest case. */
  variant(alignment: usize): u8 {
    this.align(alignment);
    const index = this.next<u8>();
    this.align(alignment);
    return index;
  }
  string(): string {
    const start = this.next<usize>();
    return String.UTF16.decodeUnsafe(start, this.next<usize>() << 1);
  }
  bytes(): ArrayBuffer {
    const start = this.next<usize>();
    const bytes = new ArrayBuffer(this.next<i32>());
    memory.copy(changetype<usize>(bytes), start, bytes.byteLength);
    return bytes;
  }
  optional(): string | null {
    const some = this.variant(4);
    const after = this.at + 8;
    const value = some ? this.string() : null;
    this.at = after;
    return value;
  }
  pairs(): Pair[] {
    const list = new Reader(this.next<usize>());
    const pairs = new Array<Pair>(this.next<i32>());
    for (let i = 0; i < pairs.length; i++) pairs[i] = new Pair(list.string(), list.string());
    return pairs;
  }
  payload(): Payload {
    const kind = this.variant(4);
    const after = this.at + 8;
    const payload = new Payload(kind == 1 ? this.string() : null, kind == 2 ? this.bytes() : null);
    this.at = after;
    return payload;
  }
}

/** Writes a record into memory of its own, member after member, each at its alignment. */
export class Writer {
  readonly start: usize;
  private at: usize;

  constructor(size: usize) {
    // @ts-ignore: asc knows it, editors do not
    this.start = __new(size, idof<ArrayBuffer>()); // zeroed
    this.at = this.start;
  }
  next<T>(value: T): void {
    this.align(sizeof<T>());
    store<T>(this.at, value);
    this.at += sizeof<T>();
  }
  align(to: usize): void {
    this.at = (this.at + to - 1) & ~(to - 1);
  }
  /** The case of a variant; its value starts at the alignment of the largest case. */
  variant(index: u8, alignment: usize): void {
    this.align(alignment);
    this.next<u8>(index);
    this.align(alignment);
  }
  string(text: string): void {
    this.next<usize>(changetype<usize>(text));
    this.next<i32>(text.length);
  }
  optional(text: string | null): void {
    this.variant(text === null ? 0 : 1, 4);
    this.string(text === null ? "" : text);
  }
  strings(list: string[]): void {
    const items = this.list(list.length, 8);
    for (let i = 0; i < list.length; i++) items.string(list[i]);
  }
  pairs(list: Pair[]): void {
    const items = this.list(list.length, 16);
    for (let i = 0; i < list.length; i++) {
      items.string(list[i].name);
      items.string(list[i].value);
    }
  }
  payload(payload: Payload): void {
    const text = payload.text;
    const bytes = payload.bytes;
    this.variant(text !== null ? 1 : bytes !== null ? 2 : 0, 4);
    if (bytes !== null) {
      this.next<usize>(changetype<usize>(bytes));
      this.next<i32>(bytes.byteLength);
    } else {
      this.string(text !== null ? text : "");
    }
  }
  private list(length: i32, size: usize): Writer {
    const items = new Writer((length as usize) * size);
    this.next<usize>(items.start);
    this.next<i32>(length);
    return items;
  }
}

/** A header or label, or something that is asked for: name and purpose. */
export class Pair {
  constructor(readonly name: string, readonly value: string) {}
}

/** Text, bytes, or, where both are null, nothing. */
export class Payload {
  constructor(readonly text: string | null, readonly bytes: ArrayBuffer | null = null) {}
}

// ---- what comes in ----

export class Event {
  constructor(
    readonly id: string,
    readonly type: string,
    readonly subject: string | null,
    readonly occurredAt: u64,
    readonly contentType: string,
    readonly data: Payload,
    readonly labels: Pair[],
  ) {}
  static read(from: Reader): Event {
    from.align(8);
    return new Event(
      from.string(), from.string(), from.optional(), from.next<u64>(), from.string(), from.payload(), from.pairs(),
    );
  }
}

export class Delivery {
  constructor(
    readonly id: string,
    readonly code: u64,
    readonly createdAt: u64,
    readonly tenant: string,
    readonly correlationId: string | null,
  ) {}
  static read(from: Reader): Delivery {
    from.align(8);
    const delivery = new Delivery(
      from.string(), from.next<u64>(), from.next<u64>(), from.string(), from.optional(),
    );
    from.align(8);
    return delivery;
  }
}

export class Endpoint {
  constructor(readonly id: string, readonly url: string, readonly integrator: string, readonly labels: Pair[]) {}
  static read(from: Reader): Endpoint {
    return new Endpoint(from.string(), from.string(), from.string(), from.pairs());
  }
}

export class Attempt {
  constructor(readonly number: u32, readonly firstAt: u64, readonly now: u64) {}
  static read(from: Reader): Attempt {
    from.align(8);
    return new Attempt(from.next<u32>(), from.next<u64>(), from.next<u64>());
  }
}

export class Context {
  constructor(readonly delivery: Delivery, readonly endpoint: Endpoint, readonly attempt: Attempt) {}
}

export class Response {
  constructor(
    readonly status: u16,
    readonly headers: Pair[],
    readonly body: Payload,
    readonly truncated: bool,
    readonly elapsedMs: u32,
  ) {}
  get isSuccess(): bool {
    return this.status >= 200 && this.status < 300;
  }
  static read(from: Reader): Response {
    from.align(4);
    return new Response(from.next<u16>(), from.pairs(), from.payload(), from.next<bool>(), from.next<u32>());
  }
}

export class Exchange {
  constructor(
    readonly eventId: string,
    readonly eventType: string,
    readonly subject: string | null,
    readonly context: Context,
    readonly memo: string | null,
    readonly response: Response,
  ) {}
  static read(from: Reader): Exchange {
    return new Exchange(
      from.string(), from.string(), from.optional(),
      new Context(Delivery.read(from), Endpoint.read(from), Attempt.read(from)),
      from.optional(), Response.read(from),
    );
  }
}

// ---- what goes out ----

export enum InterpretWhen { Never, Non2xx, Always }

export class Manifest {
  title: string = "";
  configSchema: string = "{}";
  eventTypes: string[] = [];
  interpret: InterpretWhen = InterpretWhen.Non2xx;
  hosts: string[] = [];
  credentials: Pair[] = [];
  secrets: Pair[] = [];

  constructor(readonly id: string, readonly version: string) {}

  write(out: Writer): void {
    out.string(this.id);
    out.string(this.version);
    out.string(this.title);
    out.string(this.configSchema);
    out.strings(this.eventTypes);
    out.next<u8>(this.interpret as u8);
    out.strings(this.hosts);
    out.pairs(this.credentials);
    out.pairs(this.secrets);
  }
}

/** What `transform` answers: a Request, a Skip or a Problem. */
export abstract class Plan {
  abstract write(out: Writer): void;
}

export class Request extends Plan {
  headers: Pair[] = [];
  body: Payload = new Payload(null);
  compress: bool = false;
  credential: string | null = null;
  memo: string | null = null;

  constructor(readonly method: string, readonly url: string) {
    super();
  }
  header(name: string, value: string): void {
    this.headers.push(new Pair(name, value));
  }
  write(out: Writer): void {
    out.variant(0, 4); // ok
    out.variant(0, 4); // send
    out.string(this.method);
    out.string(this.url);
    out.pairs(this.headers);
    out.payload(this.body);
    out.next<bool>(this.compress);
    out.optional(this.credential);
    out.optional(this.memo);
  }
}

export class Skip extends Plan {
  constructor(readonly reason: string) {
    super();
  }
  write(out: Writer): void {
    out.variant(0, 4); // ok
    out.variant(1, 4); // skip
    out.string(this.reason);
  }
}

export class Problem extends Plan {
  constructor(readonly code: string, readonly message: string, readonly retryable: bool = false) {
    super();
  }
  write(out: Writer): void {
    out.variant(1, 4); // err
    this.writeMembers(out);
  }
  writeMembers(out: Writer): void {
    out.string(this.code);
    out.string(this.message);
    out.next<bool>(this.retryable);
  }
}

/** What `interpret` answers. */
export abstract class Verdict {
  abstract write(out: Writer): void;
}

export class Success extends Verdict {
  constructor(readonly partnerId: string | null = null) {
    super();
  }
  write(out: Writer): void {
    out.variant(0, 8);
    out.optional(this.partnerId);
  }
}

export class Retry extends Verdict {
  /** Zero milliseconds: on the engine's own schedule. */
  constructor(readonly reason: string, readonly afterMs: u64 = 0) {
    super();
  }
  write(out: Writer): void {
    out.variant(1, 8);
    out.variant(this.afterMs ? 1 : 0, 8);
    out.next<u64>(this.afterMs);
    out.string(this.reason);
  }
}

export class Fail extends Verdict {
  constructor(readonly problem: Problem) {
    super();
  }
  write(out: Writer): void {
    out.variant(2, 8);
    this.problem.writeMembers(out);
  }
}

export class DisableEndpoint extends Verdict {
  constructor(readonly reason: string) {
    super();
  }
  write(out: Writer): void {
    out.variant(3, 8);
    out.string(this.reason);
  }
}

// ---- what a plugin may ask of the engine ----

// @ts-ignore: decorator
@external("engate:plugin/config@0.1.0", "get")
declare function configGet(pointer: string, length: i32, out: usize): void;
// @ts-ignore: decorator
@external("engate:plugin/secrets@0.1.0", "hmac-sha256")
declare function hmacSha256(name: string, nameLength: i32, data: ArrayBuffer, length: i32, out: usize): void;
// @ts-ignore: decorator
@external("engate:plugin/log@0.1.0", "write")
declare function logWrite(level: i32, message: string, length: i32, fields: usize, fieldCount: i32): void;

export enum Level { Debug, Info, Warn, Error }

export function log(level: Level, message: string): void {
  logWrite(level, message, message.length, 0, 0);
}

/** The setting at a JSON Pointer, as compact JSON. */
export function config(pointer: string): string | null {
  const answer = new Writer(12).start;
  configGet(pointer, pointer.length, answer);
  return new Reader(answer).optional();
}

export class Mac {
  constructor(readonly bytes: Uint8Array, readonly problem: Problem | null) {}
}

/** HMAC-SHA256 of the text's UTF-8 under a granted secret: the bytes, or the problem why there are none. */
export function hmac(secret: string, text: string): Mac {
  const data = String.UTF8.encode(text);
  const answer = new Writer(16).start;
  hmacSha256(secret, secret.length, data, data.byteLength, answer);
  const from = new Reader(answer);
  if (from.variant(4) == 0) return new Mac(Uint8Array.wrap(from.bytes()), null);
  const nothing = new Uint8Array(0);
  if (from.variant(4) == 0) return new Mac(nothing, new Problem("secret_denied", `no secret ${secret} is granted`));
  return new Mac(nothing, new Problem("secret_unavailable", from.string(), true));
}

/** In the place of AssemblyScript's `abort`: a failed assertion or a `throw` goes to the plugin's log, and ends the call. */
export function panic(message: string | null, file: string | null, line: u32, column: u32): void {
  log(Level.Error, `${message !== null ? message : "panic"} (${file !== null ? file : "?"}:${line}:${column})`);
  unreachable();
}
