// A small JSON reader. It keeps no tree, only places in the text, so a value's own spelling is always at hand; and what
// is not there is a value too, so that `json.get("a").get("b")` needs no questions in between.

const DEEPEST = 64;
const enum Char {
  Quote = 0x22, Plus = 0x2b, Comma = 0x2c, Minus = 0x2d, Dot = 0x2e, Zero = 0x30, Nine = 0x39, Colon = 0x3a,
  OpenBracket = 0x5b, Backslash = 0x5c, CloseBracket = 0x5d, E = 0x65, F = 0x66, N = 0x6e, T = 0x74,
  OpenBrace = 0x7b, CloseBrace = 0x7d,
}
const ESCAPED = "\b\t\n\f\r\"\\/";
const ESCAPES = "btnfr\"\\/";

export class Json {
  private constructor(private source: string, private start: i32, private end: i32) {}

  /** The value that the text is; one that is not there if the text is not JSON. */
  static parse(text: string): Json {
    const start = skipSpace(text, 0);
    const end = skipValue(text, start, DEEPEST);
    return end >= 0 && skipSpace(text, end) == text.length ? new Json(text, start, end) : Json.nothing;
  }
  static get nothing(): Json { return new Json("", 0, 0); }

  /** Whether there is a value, other than null. */
  get exists(): bool { return this.start < this.end && this.first != Char.N; }
  get isObject(): bool { return this.first == Char.OpenBrace; }
  get isArray(): bool { return this.first == Char.OpenBracket; }
  get isTrue(): bool { return this.first == Char.T; }
  get isBoolean(): bool { return this.first == Char.T || this.first == Char.F; }
  /** Whether it is a number without fraction and exponent, of at most 18 digits, so that it fits an i64. */
  get isWhole(): bool {
    if (this.end - this.start > 19 || !(this.first == Char.Minus || isDigit(this.first))) return false;
    for (let i = this.start + 1; i < this.end; i++) if (!isDigit(this.source.charCodeAt(i))) return false;
    return this.first == Char.Minus || this.end - this.start < 19;
  }
  /** The value of what `isWhole`. */
  get whole(): i64 { return i64.parse(this.raw); }
  /** The value as it is spelled. */
  get raw(): string { return this.source.slice(this.start, this.end); }
  /** The text, if it is one. */
  get text(): string | null {
    if (this.first != Char.Quote) return null;
    if (!this.hasEscapes) return this.source.slice(this.start + 1, this.end - 1);
    const parts: string[] = [];
    let from = this.start + 1;
    for (let i = from; i < this.end - 1; i++) {
      if (this.source.charCodeAt(i) != Char.Backslash) continue;
      parts.push(this.source.slice(from, i));
      const escape = this.source.charAt(++i);
      if (escape == "u") {
        parts.push(String.fromCharCode(unit(this.source, i + 1)));
        i += 4;
      } else {
        parts.push(ESCAPED.charAt(ESCAPES.indexOf(escape)));
      }
      from = i + 1;
    }
    parts.push(this.source.slice(from, this.end - 1));
    return parts.join("");
  }
  /** The member of that name; the last one, if there are several. */
  get(name: string): Json {
    let found = Json.nothing;
    if (!this.isObject) return found;
    for (let i = skipSpace(this.source, this.start + 1); this.source.charCodeAt(i) != Char.CloseBrace;) {
      const keyEnd = skipText(this.source, i);
      const value = this.valueAt(skipSpace(this.source, skipSpace(this.source, keyEnd) + 1));
      if (new Json(this.source, i, keyEnd).says(name)) found = value;
      i = skipComma(this.source, value.end);
    }
    return found;
  }
  /** What the array holds. */
  get items(): Json[] {
    const items: Json[] = [];
    if (!this.isArray) return items;
    for (let i = skipSpace(this.source, this.start + 1); this.source.charCodeAt(i) != Char.CloseBracket;) {
      const item = this.valueAt(i);
      items.push(item);
      i = skipComma(this.source, item.end);
    }
    return items;
  }

  /** Its first unit; -1 where nothing is. */
  private get first(): i32 { return this.source.charCodeAt(this.start); }
  /** Whether it is this text. */
  private says(text: string): bool {
    if (this.hasEscapes) return this.text == text;
    // @ts-ignore: editors do not know the second parameter
    return this.end - this.start == text.length + 2 && this.source.startsWith(text, this.start + 1);
  }
  private get hasEscapes(): bool {
    for (let i = this.start; i < this.end; i++) if (this.source.charCodeAt(i) == Char.Backslash) return true;
    return false;
  }
  private valueAt(start: i32): Json { return new Json(this.source, start, skipValue(this.source, start, DEEPEST)); }
}

/** The text as JSON. */
export function quote(text: string): string {
  const parts = ["\""];
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x20 && code != Char.Quote && code != Char.Backslash) continue;
    const short = ESCAPED.indexOf(text.charAt(i));
    parts.push(text.slice(from, i));
    parts.push("\\" + (short >= 0 ? ESCAPES.charAt(short) : "u" + code.toString(16).padStart(4, "0")));
    from = i + 1;
  }
  if (from == 0) return `"${text}"`; // nothing to escape, as in most texts
  parts.push(text.slice(from));
  parts.push("\"");
  return parts.join("");
}

// ---- each `skip` answers the place after what it skips, or -1 where it is not there ----

function skipValue(text: string, at: i32, depth: i32): i32 {
  const first = text.charCodeAt(at);
  if (first == Char.Quote) return skipText(text, at);
  if (first == Char.OpenBrace || first == Char.OpenBracket) return depth ? skipList(text, at, depth) : -1;
  if (first == Char.T) return skipWord(text, at, "true");
  if (first == Char.F) return skipWord(text, at, "false");
  if (first == Char.N) return skipWord(text, at, "null");
  return skipNumber(text, at);
}

/** An object or an array. */
function skipList(text: string, at: i32, depth: i32): i32 {
  const isObject = text.charCodeAt(at) == Char.OpenBrace;
  const close = isObject ? Char.CloseBrace : Char.CloseBracket;
  at = skipSpace(text, at + 1);
  if (text.charCodeAt(at) == close) return at + 1;
  while (true) {
    if (isObject) {
      at = skipText(text, at);
      if (at < 0) return -1;
      at = skipSpace(text, at);
      if (text.charCodeAt(at) != Char.Colon) return -1;
      at = skipSpace(text, at + 1);
    }
    at = skipValue(text, at, depth - 1);
    if (at < 0) return -1;
    at = skipSpace(text, at);
    if (text.charCodeAt(at) == close) return at + 1;
    if (text.charCodeAt(at) != Char.Comma) return -1;
    at = skipSpace(text, at + 1);
  }
}

function skipText(text: string, at: i32): i32 {
  if (text.charCodeAt(at) != Char.Quote) return -1;
  for (let i = at + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code == Char.Quote) return i + 1;
    if (code < 0x20) return -1;
    if (code != Char.Backslash) continue;
    const escape = text.charAt(++i);
    if (escape != "u") {
      if (escape == "" || !ESCAPES.includes(escape)) return -1;
      continue;
    }
    const high = unit(text, i + 1);
    i += 4;
    if (high < 0 || (high & 0xfc00) == 0xdc00) return -1;
    if ((high & 0xfc00) != 0xd800) continue;
    if (text.substr(i + 1, 2) != "\\u" || (unit(text, i + 3) & 0xfc00) != 0xdc00) return -1; // half a character
    i += 6;
  }
  return -1;
}

function skipNumber(text: string, at: i32): i32 {
  if (text.charCodeAt(at) == Char.Minus) at++;
  at = text.charCodeAt(at) == Char.Zero ? at + 1 : skipDigits(text, at);
  if (at >= 0 && text.charCodeAt(at) == Char.Dot) at = skipDigits(text, at + 1);
  if (at >= 0 && (text.charCodeAt(at) | 0x20) == Char.E) {
    const sign = text.charCodeAt(at + 1);
    at = skipDigits(text, sign == Char.Plus || sign == Char.Minus ? at + 2 : at + 1);
  }
  return at;
}

function skipDigits(text: string, at: i32): i32 {
  const start = at;
  while (isDigit(text.charCodeAt(at))) at++;
  return at > start ? at : -1;
}

function skipWord(text: string, at: i32, word: string): i32 {
  // @ts-ignore: as above
  return text.startsWith(word, at) ? at + word.length : -1;
}

function skipComma(text: string, at: i32): i32 {
  at = skipSpace(text, at);
  return text.charCodeAt(at) == Char.Comma ? skipSpace(text, at + 1) : at;
}

function skipSpace(text: string, at: i32): i32 {
  let code = text.charCodeAt(at);
  while (code == 0x20 || code == 0x0a || code == 0x0d || code == 0x09) code = text.charCodeAt(++at);
  return at;
}

/** The UTF-16 unit that four hex digits spell, or -1. */
function unit(text: string, at: i32): i32 {
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const digit = "0123456789abcdef".indexOf(text.charAt(i).toLowerCase());
    if (digit < 0 || i >= text.length) return -1;
    value = (value << 4) | digit;
  }
  return value;
}

function isDigit(code: i32): bool { return code >= Char.Zero && code <= Char.Nine; }
