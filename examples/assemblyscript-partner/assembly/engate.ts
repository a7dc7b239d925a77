// The contract `engate:plugin@0.1.0`, world `integrator`, by hand: its types, and how each lies in memory (the canonical ABI
// of the component model). Glue: there is nothing in it about a partner, take it as it is. Strings are UTF-16 here and in
// the component (`encoding = "utf16"` in engate-plugin.toml): the engine converts.
// Left out: the imports `state` and `secrets.reveal`, payloads that are no text, compressed requests, credentials.

/** A header or label, or something that is asked for: name and purpose. */
export class Pair { constructor(readonly name: string, readonly value: string) {} }

/** A place in memory from which a record is read, or to which it is written, member after member, each at its alignment. */
export class Memory {
  constructor(public at: usize) {}
  /** Zeroed memory of its own. */
  // @ts-ignore: asc knows it, editors do not
  static of(size: usize): Memory { return new Memory(__new(size, idof<ArrayBuffer>())); }
  align(to: usize): Memory { this.at = (this.at + to - 1) & ~(to - 1); return this; }

  get<T>(): T { const value = load<T>(this.align(sizeof<T>()).at); this.at += sizeof<T>(); return value; }
  /** Which case of a variant; its value starts at the alignment of the largest case. */
  getCase(to: usize): u8 { const index = this.align(to).get<u8>(); this.align(to); return index; }
  getText(): string { const start = this.get<usize>(); return String.UTF16.decodeUnsafe(start, this.get<usize>() << 1); }
  /** The text of a variant's case `wanted`; null where it is another one. */
  getTextOf(wanted: u8): string | null {
    if (this.getCase(4) == wanted) return this.getText();
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
    const items = this.putList(list.length, 8);
    for (let i = 0; i < list.length; i++) items.putText(list[i]);
    return this;
  }
  putPairs(list: Pair[]): Memory {
    const items = this.putList(list.length, 16);
    for (let i = 0; i < list.length; i++) items.putText(list[i].name).putText(list[i].value);
    return this;
  }
  private putList(length: i32, size: usize): Memory {
    const items = Memory.of((length as usize) * size);
    this.put<usize>(items.at).put<i32>(length);
    return items;
  }
}

// ---- what comes in; `text` is null where the payload is none ----

export class Event {
  id: string; type: string; subject: string | null; occurredAt: u64; contentType: string; text: string | null; labels: Pair[];
  constructor(from: Memory) {
    this.id = from.align(8).getText(); this.type = from.getText(); this.subject = from.getTextOf(1);
    this.occurredAt = from.get<u64>(); this.contentType = from.getText(); this.text = from.getTextOf(1);
    this.labels = from.getPairs();
  }
}
export class Context {
  deliveryId: string; deliveryCode: u64; createdAt: u64; tenant: string; correlationId: string | null;
  endpointId: string; url: string; integrator: string; labels: Pair[]; attempt: u32; firstAt: u64; now: u64;
  constructor(from: Memory) {
    this.deliveryId = from.align(8).getText(); this.deliveryCode = from.get<u64>(); this.createdAt = from.get<u64>();
    this.tenant = from.getText(); this.correlationId = from.getTextOf(1); this.endpointId = from.align(8).getText();
    this.url = from.getText(); this.integrator = from.getText(); this.labels = from.getPairs();
    this.attempt = from.align(8).get<u32>(); this.firstAt = from.get<u64>(); this.now = from.get<u64>();
  }
}
export class Exchange {
  eventId: string; eventType: string; subject: string | null; context: Context; memo: string | null;
  status: u16; headers: Pair[]; text: string | null; truncated: bool; elapsedMs: u32;
  constructor(from: Memory) {
    this.eventId = from.getText(); this.eventType = from.getText(); this.subject = from.getTextOf(1);
    this.context = new Context(from); this.memo = from.getTextOf(1); this.status = from.align(4).get<u16>();
    this.headers = from.getPairs(); this.text = from.getTextOf(1); this.truncated = from.get<bool>();
    this.elapsedMs = from.get<u32>();
  }
  get isSuccess(): bool { return this.status >= 200 && this.status < 300; }
}

// ---- what goes out, each where the engine reads it ----

export type Plan = usize;
export type Verdict = usize;
export enum InterpretWhen { Never, Non2xx, Always }

export class Manifest {
  title: string = ""; configSchema: string = "{}"; eventTypes: string[] = []; secrets: Pair[] = [];
  interpret: InterpretWhen = InterpretWhen.Non2xx; hosts: string[] = []; credentials: Pair[] = [];
  constructor(readonly id: string, readonly version: string) {}
  write(): usize {
    const out = Memory.of(68), start = out.at;
    out.putText(this.id).putText(this.version).putText(this.title).putText(this.configSchema).putTexts(this.eventTypes);
    out.put<u8>(this.interpret as u8).putTexts(this.hosts).putPairs(this.credentials).putPairs(this.secrets);
    return start;
  }
}
/** What `transform` answers: a request, */
export function send(method: string, url: string, headers: Pair[], body: string | null, memo: string | null): Plan {
  const out = Memory.of(72), start = out.at;
  out.putCase(0, 4).putCase(0, 4).putText(method).putText(url).putPairs(headers).putOptional(body);
  out.put<bool>(false).putOptional(null).putOptional(memo);
  return start;
}
/** or nothing, */
export function skip(reason: string): Plan { return answer(72, 0, 4).putCase(1, 4).putText(reason).at - 16; }
/** or why not. */
export function refuse(code: string, message: string, retryable: bool = false): Plan {
  const out = answer(72, 1, 4), start = out.at - 4;
  out.putText(code).putText(message).put<bool>(retryable);
  return start;
}
/** What `interpret` answers. */
export function success(reference: string | null): Verdict { return answer(32, 0, 8).putOptional(reference).at - 20; }
/** Zero milliseconds: on the engine's own schedule. */
export function retry(reason: string, afterMs: u64 = 0): Verdict {
  return answer(32, 1, 8).putCase(afterMs ? 1 : 0, 8).put<u64>(afterMs).putText(reason).at - 32;
}
export function fail(code: string, message: string, retryable: bool = false): Verdict {
  return answer(32, 2, 8).putText(code).putText(message).put<bool>(retryable).at - 25;
}
export function disable(reason: string): Verdict { return answer(32, 3, 8).putText(reason).at - 16; }
function answer(size: usize, index: u8, to: usize): Memory { return Memory.of(size).putCase(index, to); }
