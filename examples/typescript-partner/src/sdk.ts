// Helpers that most plugins want. They are part of the project: change them as you like.

import { get } from "engate:plugin/config@0.1.0";
import type { Plan, Verdict } from "engate:plugin/delivery@0.1.0";
import { write, type Level } from "engate:plugin/log@0.1.0";
import { hmacSha256, type SecretsError } from "engate:plugin/secrets@0.1.0";
import type { HttpRequest, HttpResponse, Pair, Payload, Problem as Refusal } from "engate:plugin/types@0.1.0";

/** A refusal, to be thrown; final unless `retryable`. Any other error is a crash. The engine sees `payload`. */
export class Problem extends Error {
  readonly payload: Refusal;

  constructor(code: string, message: string, retryable = false) {
    super(message);
    this.payload = { code, message, retryable };
  }
}

/**
 * A JSON value. Its parts are named by JSON Pointers, such as `/items/0/sku`. The `find` readers give undefined where
 * there is no such part; the others throw a `Problem` that names the place.
 */
export class Json {
  constructor(
    private readonly value: unknown,
    private readonly place: string,
  ) {}

  /** An event's payload, which has to be JSON. */
  static parse(payload: Payload): Json {
    try {
      return new Json(JSON.parse(textOf(payload)), "payload");
    } catch (error) {
      throw new Problem("invalid_payload", `the payload is not JSON: ${(error as Error).message}`);
    }
  }

  /** A partner's answer, which may be anything. */
  static find(body: Payload): Json | undefined {
    try {
      return new Json(JSON.parse(textOf(body)), "answer");
    } catch {
      return undefined;
    }
  }

  /** The part, if it is there and not null. */
  find(pointer: string): Json | undefined {
    const value = this.at(pointer);
    return value == null ? undefined : new Json(value, this.place + pointer);
  }

  /** The part, if it is text. */
  findText(pointer: string): string | undefined {
    const value = this.at(pointer);
    return isText(value) ? value : undefined;
  }

  text(pointer = ""): string { return this.read(pointer, isText, "text"); }
  /** Only numbers that JavaScript holds exactly. */
  integer(pointer = ""): number { return this.read(pointer, isInteger, "a whole number within 2^53"); }
  boolean(pointer = ""): boolean { return this.read(pointer, isBoolean, "true or false"); }

  list(pointer = ""): Json[] {
    const values: unknown[] = this.read(pointer, Array.isArray, "a list");
    return values.map((value, index) => new Json(value, `${this.place}${pointer}/${index}`));
  }

  private at(pointer: string): unknown {
    let value: unknown = this.value;
    keys[pointer] ??= pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    for (const key of keys[pointer]) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
      value = (value as Record<string, unknown>)[key];
    }
    return value;
  }

  private read<T>(pointer: string, is: (value: unknown) => value is T, kind: string): T {
    const value = this.at(pointer);
    if (is(value)) return value;
    const what = value === undefined ? "is not there" : `is not ${kind}`;
    throw new Problem("invalid_payload", `${this.place}${pointer} ${what}`);
  }
}

/** Pointers taken apart, each once. */
const keys: Record<string, string[]> = Object.create(null);
// Text that is not well-formed (half of an emoji) cannot leave the plugin.
const isText = (value: unknown): value is string => typeof value === "string" && value.isWellFormed();
const isInteger = (value: unknown): value is number => Number.isSafeInteger(value);
const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";
const textOf = (body: Payload): string => (body.tag === "text" ? body.val : "");

/** Those that are undefined are left out. */
type Headers = Record<string, string | undefined>;

export const request = (method: string, url: string, body: Payload | string, headers: Headers): HttpRequest => ({
  method,
  url,
  headers: Object.entries(headers).filter((header): header is Pair => header[1] !== undefined),
  body: typeof body === "string" ? { tag: "text", val: body } : body,
  compress: false,
});

export const plan = {
  /** Send this; `interpret` gets the memo back. */
  send: (request: HttpRequest, memo?: string): Plan => ({ tag: "send", val: { request, memo } }),
  skip: (reason: string): Plan => ({ tag: "skip", val: reason }),
};

export const verdict = {
  /** Taken, perhaps with the partner's own id for it. */
  success: (partnerId?: string | null): Verdict => ({ tag: "success", val: partnerId }),
  /** Again, after so many milliseconds or else by the engine's schedule. */
  retry: (reason: string, afterMs?: number): Verdict => ({ tag: "retry", val: { reason, afterMs } }),
  /** Refused; final unless `retryable`. */
  fail: (code: string, message: string, retryable = false): Verdict =>
    ({ tag: "fail", val: { code, message, retryable } }),
  /** The partner says: stop. */
  disableEndpoint: (reason: string): Verdict => ({ tag: "disable-endpoint", val: reason }),
};

/** What the engine itself would say. */
export const byStatus = (response: HttpResponse): Verdict =>
  isSuccess(response) ? verdict.success() : verdict.retry(`HTTP status ${response.status}`);

export const isSuccess = ({ status }: HttpResponse): boolean => status >= 200 && status < 300;

/** A setting, if it is set. That it is a `T` is for the manifest's `configSchema` to say: the engine checks it. */
export const config = <T>(pointer: string): T | undefined => JSON.parse(get(pointer) ?? "null") ?? undefined;

/** HMAC-SHA256 in hex under a secret which the plugin itself never sees. */
export function hmacHex(secret: string, text: string): string {
  // There is no TextEncoder here; this way to UTF-8 bytes is native code all through.
  const bytes = Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text))));
  try {
    return hmacSha256(secret, bytes).toHex();
  } catch (error) {
    const { payload } = error as { payload: SecretsError };
    if (payload.tag === "denied") throw new Problem("secret_denied", `create the secret ${secret} and grant it`);
    throw new Problem("secret_unavailable", `the secret ${secret} cannot be read now: ${payload.val}`, true);
  }
}

/** Writes to the plugin log. */
export const log = (level: Level, message: string, fields: Record<string, string> = {}): void =>
  write(level, message, Object.entries(fields));
