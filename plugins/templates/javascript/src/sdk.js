// Helpers that most plugins want. They are part of the project: change them as you like.
/** @import { Plan, Verdict } from "engate:plugin/delivery@0.1.0" */
/** @import { HttpRequest, HttpResponse, Payload } from "engate:plugin/types@0.1.0" */
import { get } from "engate:plugin/config@0.1.0";
import { write } from "engate:plugin/log@0.1.0";
import { hmacSha256 } from "engate:plugin/secrets@0.1.0";

/** A refusal, to be thrown; final unless `retryable`. Any other error is a crash. The engine sees `payload`. */
export class Problem extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message, retryable = false) {
    super(message);
    this.payload = { code, message, retryable };
  }
}

/**
 * A JSON value. Its parts are named by JSON Pointers, such as `/items/0/sku`. The `find` readers give undefined where
 * there is no such part; the others throw a `Problem` that names the place.
 */
export class Json {
  /** @type {any} */
  #value;
  #place;

  /** @param {unknown} value @param {string} place */
  constructor(value, place) {
    this.#value = value;
    this.#place = place;
  }

  /** An event's payload, which has to be JSON. @param {Payload} payload */
  static parse(payload) {
    try {
      return new Json(JSON.parse(textOf(payload)), "payload");
    } catch (error) {
      throw new Problem("invalid_payload", `the payload is not JSON: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** A partner's answer, which may be anything. @param {Payload} body */
  static find(body) {
    try {
      return new Json(JSON.parse(textOf(body)), "answer");
    } catch {
      return undefined;
    }
  }

  /** The part, if it is there and not null. @param {string} pointer */
  find(pointer) {
    const value = this.#at(pointer);
    return value == null ? undefined : new Json(value, this.#place + pointer);
  }

  /** The part, if it is text. @param {string} pointer @returns {string | undefined} */
  findText(pointer) {
    const value = this.#at(pointer);
    return isText(value) ? value : undefined;
  }

  /** @returns {string} */
  text(pointer = "") { return this.#read(pointer, isText, "text"); }
  /** Only numbers that JavaScript holds exactly. @returns {number} */
  integer(pointer = "") { return this.#read(pointer, Number.isSafeInteger, "a whole number within 2^53"); }
  /** @returns {boolean} */
  boolean(pointer = "") { return this.#read(pointer, (value) => typeof value === "boolean", "true or false"); }

  /** @returns {Json[]} */
  list(pointer = "") {
    /** @type {unknown[]} */
    const values = this.#read(pointer, Array.isArray, "a list");
    return values.map((value, index) => new Json(value, `${this.#place}${pointer}/${index}`));
  }

  /** @param {string} pointer */
  #at(pointer) {
    let value = this.#value;
    keys[pointer] ??= pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    for (const key of keys[pointer]) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
      value = value[key];
    }
    return value;
  }

  /** @param {string} pointer @param {(value: unknown) => boolean} is @param {string} kind */
  #read(pointer, is, kind) {
    const value = this.#at(pointer);
    if (is(value)) return value;
    throw new Problem("invalid_payload", `${this.#place}${pointer} is not ${value === undefined ? "there" : kind}`);
  }
}

/** @type {Record<string, string[]>} */ const keys = Object.create(null); // Pointers taken apart, each once.
/** Text that is not well-formed (half of an emoji) cannot leave the plugin. @param {unknown} value */
const isText = (value) => typeof value === "string" && value.isWellFormed();
/** @param {Payload} body */
const textOf = (body) => (body.tag === "text" ? body.val : "");

/** @typedef {Record<string, string | undefined>} Headers Those that are undefined are left out. */
/** @type {(method: string, url: string, body: Payload | string, headers: Headers) => HttpRequest} */
export const request = (method, url, body, headers) => ({
  method, url, compress: false,
  headers: Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  body: typeof body === "string" ? { tag: "text", val: body } : body,
});

export const plan = {
  /** Send this; `interpret` gets the memo back. @type {(request: HttpRequest, memo?: string) => Plan} */
  send: (request, memo) => ({ tag: "send", val: { request, memo } }),
  /** @type {(reason: string) => Plan} */
  skip: (reason) => ({ tag: "skip", val: reason }),
};

export const verdict = {
  /** Taken, perhaps with the partner's own id for it. @type {(partnerId?: string | null) => Verdict} */
  success: (partnerId) => ({ tag: "success", val: partnerId }),
  /** Again, after so many ms or else by the engine's schedule. @type {(reason: string, afterMs?: number) => Verdict} */
  retry: (reason, afterMs) => ({ tag: "retry", val: { reason, afterMs } }),
  /** Refused; final unless `retryable`. @type {(code: string, message: string, retryable?: boolean) => Verdict} */
  fail: (code, message, retryable = false) => ({ tag: "fail", val: { code, message, retryable } }),
  /** The partner says: stop. @type {(reason: string) => Verdict} */
  disableEndpoint: (reason) => ({ tag: "disable-endpoint", val: reason }),
};

/** What the engine itself would say. @param {HttpResponse} response */
export const byStatus = (response) =>
  isSuccess(response) ? verdict.success() : verdict.retry(`HTTP status ${response.status}`);
/** @param {HttpResponse} response */
export const isSuccess = ({ status }) => status >= 200 && status < 300;

/** A setting, if it is set; the engine checks it against the manifest's `configSchema`. @param {string} pointer */
export const config = (pointer) => JSON.parse(get(pointer) ?? "null") ?? undefined;

/** HMAC-SHA256 in hex under a secret which the plugin itself never sees. @param {string} secret @param {string} text */
export function hmacHex(secret, text) {
  // There is no TextEncoder here; this way to UTF-8 bytes is native code all through.
  const bytes = Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text))));
  try {
    return hmacSha256(secret, bytes).toHex();
  } catch (/** @type {any} */ { payload }) {
    if (payload.tag === "denied") throw new Problem("secret_denied", `create the secret ${secret} and grant it`);
    throw new Problem("secret_unavailable", `the secret ${secret} cannot be read now: ${payload.val}`, true);
  }
}

/** @typedef {import("engate:plugin/log@0.1.0").Level} Level */
/** Writes to the plugin log. @type {(level: Level, message: string, fields?: Record<string, string>) => void} */
export const log = (level, message, fields = {}) => write(level, message, Object.entries(fields));
