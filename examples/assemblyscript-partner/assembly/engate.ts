// @ts-nocheck: asc knows more than editors do (memory, decorators, operators)
// The contract `engate:plugin@0.1.0`, world `integrator`, by hand: its types, and how each lies in memory (the canonical ABI
// of the component model). Glue: there is nothing in it about a partner, take it as it is. Strings are UTF-16 here and in
// the component (`encoding = "utf16"` in engate-plugin.toml): the engine converts.
// Left out: the imports `state` and `secrets.reveal`, payloads that are no text, compressed requests, credentials.

/** A header or label, or something that is asked for: name and purpose. */
export class Pair { constructor(readonly name: string, readonly value: string) {} }

/** A place in memory from which a record is read, or to which it is written, member after member, each at its alignment. */
export class Memory {
  readonly start: usize;
  constructor(public at: usize) { this.start = at; }
  /** Zeroed memory of its own. */
  static of(size: usize): Memory { return new Memory(__new(size, idof<ArrayBuffer>())); }
  align(to: usize): Memory { this.at = (this.at + to - 1) & ~(to - 1); return this; }

  get<T>(): T { const value = load<T>(this.align(sizeof<T>()).at); this.at += sizeof<T>(); return value; }
  /** Which case of a variant; its value starts at the alignment of the largest case. */
  getCase(to: usize): u8 { const index = this.align(to).get<u8>(); this.align(to); return index; }
  getText(): string { const start = this.get<usize>(); return String.UTF16.decodeUnsafe(start, this.get<usize>() << 1); }
  /** The text of an option or of a payload; null where there is none. */
  getOptional(): string | null {
    if (this.getCase(4) == 1) return this.getText();
    this.at += 8;
    return null;
  }
  getPairs(): Pair[] {
    const list = new Memory(this.get<usize>());
    const pairs = new Array<Pair>(this.get<i32>());
    for (let i = 0; i < pairs.length; i++) pairs[i] = new Pair(list.getText(), list.getText());
    return pairs;
  }

  put<T>(value: T): Memory { store<T>(this.align(sizeof<T>()).at, value); this.at += sizeof<T>(); return this; }
  putCase(index: u8, to: usize): Memory { return this.align(to).put<u8>(index).align(to); }
  putText(text: string): Memory { return this.put<usize>(changetype<usize>(text)).put<i32>(text.length); }
  putOptional(text: string | null): Memory { return this.putCase(text === null ? 0 : 1, 4).putText(text === null ? "" : text); }
  putTexts(list: string[]): Memory {
    const items = Memory.of((list.length as usize) * 8);
    for (let i = 0; i < list.length; i++) items.putText(list[i]);
    return this.put<usize>(items.start).put<i32>(list.length);
  }
  putPairs(list: Pair[]): Memory {
    const items = Memory.of((list.length as usize) * 16);
    for (let i = 0; i < list.length; i++) items.putText(list[i].name).putText(list[i].value);
    return this.put<usize>(items.start).put<i32>(list.length);
  }
}

// ---- what comes in; `text` is null where the payload is none ----
export class Event {
  id: string; type: string; subject: string | null; occurredAt: u64; contentType: string; text: string | null; labels: Pair[];
  constructor(from: Memory) {
    this.id = from.align(8).getText(); this.type = from.getText(); this.subject = from.getOptional();
    this.occurredAt = from.get<u64>(); this.contentType = from.getText(); this.text = from.getOptional();
    this.labels = from.getPairs();
  }
}
/** Delivery, endpoint and attempt. */
export class Context {
  deliveryId: string; deliveryCode: u64; createdAt: u64; tenant: string; correlationId: string | null;
  endpointId: string; url: string; integrator: string; labels: Pair[]; attempt: u32; firstAt: u64; now: u64;
  constructor(from: Memory) {
    this.deliveryId = from.align(8).getText(); this.deliveryCode = from.get<u64>(); this.createdAt = from.get<u64>();
    this.tenant = from.getText(); this.correlationId = from.getOptional(); this.endpointId = from.align(8).getText();
    this.url = from.getText(); this.integrator = from.getText(); this.labels = from.getPairs();
    this.attempt = from.align(8).get<u32>(); this.firstAt = from.get<u64>(); this.now = from.get<u64>();
  }
}
export class Exchange {
  eventId: string; eventType: string; subject: string | null; context: Context; memo: string | null;
  status: u16; headers: Pair[]; text: string | null; truncated: bool; elapsedMs: u32;
  constructor(from: Memory) {
    this.eventId = from.getText(); this.eventType = from.getText(); this.subject = from.getOptional();
    this.context = new Context(from); this.memo = from.getOptional(); this.status = from.align(4).get<u16>();
    this.headers = from.getPairs(); this.text = from.getOptional(); this.truncated = from.get<bool>();
    this.elapsedMs = from.get<u32>();
  }
  get isSuccess(): bool { return this.status >= 200 && this.status < 300; }
}

// ---- what goes out: a place where the engine reads it ----
export enum InterpretWhen { Never, Non2xx, Always }
export class Manifest {
  title: string = ""; configSchema: string = "{}"; eventTypes: string[] = []; secrets: Pair[] = [];
  interpret: InterpretWhen = InterpretWhen.Non2xx; hosts: string[] = []; credentials: Pair[] = [];
  constructor(readonly id: string, readonly version: string) {}
  write(): usize {
    const out = Memory.of(68).putText(this.id).putText(this.version).putText(this.title).putText(this.configSchema);
    out.putTexts(this.eventTypes).put<u8>(this.interpret as u8).putTexts(this.hosts).putPairs(this.credentials);
    return out.putPairs(this.secrets).start;
  }
}
/** What `transform` answers: a request; that nothing is to be sent; or why nothing can be. */
export function send(method: string, url: string, headers: Pair[], body: string, memo: string): usize {
  const out = Memory.of(72).putCase(0, 4).putCase(0, 4).putText(method).putText(url).putPairs(headers);
  return out.putOptional(body).put<bool>(false).putOptional(null).putOptional(memo).start;
}
export function skip(reason: string): usize { return Memory.of(72).putCase(0, 4).putCase(1, 4).putText(reason).start; }
export function refuse(code: string, message: string, retryable: bool = false): usize {
  return Memory.of(72).putCase(1, 4).putText(code).putText(message).put<bool>(retryable).start;
}
/** What `interpret` answers. A retry after zero milliseconds is one on the engine's own schedule. */
export function success(reference: string | null): usize { return Memory.of(32).putCase(0, 8).putOptional(reference).start; }
export function retry(reason: string, afterMs: u64 = 0): usize {
  return Memory.of(32).putCase(1, 8).putCase(afterMs ? 1 : 0, 8).put<u64>(afterMs).putText(reason).start;
}
export function fail(code: string, message: string, retryable: bool = false): usize {
  return Memory.of(32).putCase(2, 8).putText(code).putText(message).put<bool>(retryable).start;
}
export function disable(reason: string): usize { return Memory.of(32).putCase(3, 8).putText(reason).start; }

// ---- what a plugin may ask of the engine ----
@external("engate:plugin/config@0.1.0", "get") declare function configGet(pointer: string, length: i32, out: usize): void;
@external("engate:plugin/secrets@0.1.0", "hmac-sha256")
declare function hmacSha256(name: string, nameLength: i32, data: ArrayBuffer, length: i32, out: usize): void;
@external("engate:plugin/log@0.1.0", "write")
declare function logWrite(level: i32, message: string, length: i32, fields: usize, fieldCount: i32): void;

/** Level: 0 debug, 1 info, 2 warn, 3 error. */
export function log(level: i32, message: string): void { logWrite(level, message, message.length, 0, 0); }
/** The setting at a JSON Pointer, as compact JSON. */
export function config(pointer: string): string | null {
  const answer = Memory.of(12);
  configGet(pointer, pointer.length, answer.start);
  return answer.getOptional();
}
/** HMAC-SHA256 of the text's UTF-8 under a granted secret; null where it is not to be had. */
export function hmac(secret: string, text: string): Uint8Array | null {
  const data = String.UTF8.encode(text), answer = Memory.of(16);
  hmacSha256(secret, secret.length, data, data.byteLength, answer.start);
  if (answer.getCase(4) != 0) return null;
  const start = answer.get<usize>(), bytes = new Uint8Array(answer.get<i32>());
  memory.copy(bytes.dataStart, start, bytes.length);
  return bytes;
}

// ---- what the engine and the language need: memory, its release after each call, a word before the end ----
export function cabi_realloc(old: usize, _oldSize: usize, _align: usize, size: usize): usize {
  return old ? __renew(old, size) : __new(size, idof<ArrayBuffer>());
}
/** With `--runtime minimal` nothing is freed during a call, so pointers stay good. */
export function release(_result: usize): void { __collect(); }
export function panic(message: string | null, file: string | null, line: u32, column: u32): void {
  log(3, `${message !== null ? message : "panic"} (${file !== null ? file : "?"}:${line}:${column})`);
  unreachable();
}
