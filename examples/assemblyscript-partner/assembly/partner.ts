// A partner that speaks Portuguese, and says in the body whether it took the invoice.
import {
  Context, Event, Exchange, InterpretWhen, Manifest, Memory, Pair, config, disable, fail, hmac, refuse, retry, send, skip, success,
} from "./engate";
export { cabi_realloc, release } from "./engate"; // for the engine
import { Json, quote } from "./json";

export function describe(): usize {
  const manifest = new Manifest("assemblyscript-partner", "0.1.0");
  manifest.title = "Invoices, in AssemblyScript";
  manifest.eventTypes = ["invoice.paid"];
  manifest.interpret = InterpretWhen.Always;
  manifest.secrets = [new Pair("partner-key", "signs x-partner-signature")];
  manifest.configSchema = `{"type":"object","additionalProperties":false,"properties":{\
"store":{"type":"string","minLength":1,"maxLength":40},\
"utc_offset_minutes":{"type":"integer","minimum":-720,"maximum":840}}}`;
  return manifest.write();
}

export function transform(given: usize): usize {
  const from = new Memory(given);
  const event = new Event(from);
  const context = new Context(from);
  const text = event.text;
  const json = text === null ? Json.nothing : Json.parse(text);
  if (!json.isObject) return invalid("the payload is no JSON object");

  const wrong: string[] = []; // the names of members that are not as they should be
  const root = new Members(json, "", wrong);
  const invoice = root.object("invoice");
  const customer = root.object("customer");
  const number = invoice.text("number");
  const issuedAt = invoice.time("issued_at");
  const amount = invoice.whole("amount_cents");
  const currency = invoice.text("currency");
  const internal = invoice.flag("internal");
  const name = customer.text("name");
  const document = customer.text("document");
  const address = customer.has("address") ? addressOf(customer.object("address")) : "";
  const items = root.list("items").map<string>((item) => itemOf(item)).join(",");
  if (wrong.length) return invalid(`${wrong[0]} is missing or not as it should be`);

  if (internal) return skip("internal invoice");
  if (currency != "BRL") return refuse("unsupported_currency", `only BRL is taken, not ${currency}`);
  const taxId = taxIdOf(document);
  if (taxId == "") return invalid("customer.document has neither 11 nor 14 digits");

  const body = `{"documento":${quote(number)},"emissao":"${date(issuedAt)}","valor":"${money(amount)}",\
"moeda":"BRL","cliente":{"nome":${quote(name)},${taxId}${address}},"itens":[${items}]}`;
  const timestamp = (context.now / 1000).toString();
  const mac = hmac("partner-key", `${timestamp}.${body}`);
  if (mac === null) return refuse("secret_denied", "no secret partner-key is to be had", true);

  const headers = [new Pair("content-type", "application/json")];
  const store = setting("/store").text;
  if (store !== null) headers.push(new Pair("x-partner-store", store));
  headers.push(new Pair("x-partner-timestamp", timestamp));
  headers.push(new Pair("x-partner-signature", `sha256=${hex(mac)}`));
  return send("POST", context.url, headers, body, number);
}

export function interpret(given: usize): usize {
  const exchange = new Exchange(new Memory(given));
  if (exchange.status == 410) return disable("the partner is gone");

  const text = exchange.text;
  const answer = text === null ? Json.nothing : Json.parse(text);
  const result = answer.get("resultado").text;
  const protocol = answer.get("protocolo").text;
  if (exchange.isSuccess && result == "ok" && protocol !== null) return success(protocol);

  const code = answer.get("codigo").text;
  if (result == "erro" && code !== null) {
    if (code == "DUPLICADO") return success(exchange.memo);
    if (code == "OCUPADO") return retry("the partner is busy", 30_000);
    const message = answer.get("mensagem").text;
    return fail(`partner_${code.toLowerCase()}`, message === null ? code : message);
  }

  if (exchange.isSuccess) return fail("unreadable_answer", "the answer is not the partner's JSON", true);
  const status = `HTTP status ${exchange.status}`;
  return exchange.status == 429 || exchange.status >= 500 ? retry(status) : fail("http_status", status);
}

function invalid(message: string): usize {
  return refuse("invalid_payload", message);
}

// ---- parts of the body ----

function taxIdOf(digits: string): string {
  if (!isDigits(digits)) return "";
  if (digits.length == 11) return `"cpf":"${fill("___.___.___-__", digits)}"`;
  if (digits.length == 14) return `"cnpj":"${fill("__.___.___/____-__", digits)}"`;
  return "";
}

function addressOf(address: Members): string {
  const city = quote(address.text("city"));
  const state = quote(address.text("state"));
  return `,"endereco":{"municipio":${city},"uf":${state},"cep":"${fill("_____-___", address.digits("zip", 8))}"}`;
}

function itemOf(item: Members): string {
  const sku = quote(item.text("sku"));
  const description = quote(item.text("description"));
  const quantity = item.whole("quantity");
  const unit = item.whole("unit_cents");
  const total = quantity * unit;
  if (quantity && total / quantity != unit) item.refuse("quantity"); // more than an i64 holds
  return `{"codigo":${sku},"descricao":${description},"quantidade":${quantity},"total":"${money(total)}"}`;
}

/** `R$ 1.234.567,89` of cents. */
function money(cents: i64): string {
  const digits = (cents < 0 ? 0 - (cents as u64) : cents as u64).toString().padStart(3, "0");
  let text = `,${digits.slice(-2)}`;
  let end = digits.length - 2;
  for (; end > 3; end -= 3) text = `.${digits.slice(end - 3, end)}${text}`;
  return `${cents < 0 ? "-" : ""}R$ ${digits.slice(0, end)}${text}`;
}

/** `DD/MM/YYYY HH:MM` of a time in milliseconds, in the partner's zone. */
function date(time: i64): string {
  const minutes = setting("/utc_offset_minutes");
  const local = new Date(time + (minutes.isWhole ? minutes.whole : -180) * 60_000);
  const day = `${pad(local.getUTCDate(), 2)}/${pad(local.getUTCMonth() + 1, 2)}/${pad(local.getUTCFullYear(), 4)}`;
  return `${day} ${pad(local.getUTCHours(), 2)}:${pad(local.getUTCMinutes(), 2)}`;
}

function pad(number: i32, width: i32): string {
  return number.toString().padStart(width, "0");
}

/** The pattern with the digits in the place of its `_`. */
function fill(pattern: string, digits: string): string {
  let text = "";
  let next = 0;
  for (let i = 0; i < pattern.length; i++) {
    text += pattern.charAt(i) == "_" ? digits.charAt(next++) : pattern.charAt(i);
  }
  return text;
}

function hex(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += bytes[i].toString(16).padStart(2, "0");
  return text;
}

// ---- reading ----

function setting(pointer: string): Json {
  const text = config(pointer);
  return text === null ? Json.nothing : Json.parse(text);
}

function isDigits(text: string): bool {
  for (let i = 0; i < text.length; i++) if (text.charAt(i) < "0" || text.charAt(i) > "9") return false;
  return true;
}

/** The members of an object. AssemblyScript has no exceptions to catch: what is not as it should be is noted in `wrong`. */
class Members {
  constructor(private json: Json, private path: string, private wrong: string[]) {}

  has(name: string): bool {
    return this.json.get(name).exists;
  }
  text(name: string): string {
    const text = this.json.get(name).text;
    if (text !== null) return text;
    this.refuse(name);
    return "";
  }
  digits(name: string, count: i32): string {
    const text = this.text(name);
    if (text.length != count || !isDigits(text)) this.refuse(name);
    return text;
  }
  whole(name: string): i64 {
    const value = this.json.get(name);
    if (value.isWhole) return value.whole;
    this.refuse(name);
    return 0;
  }
  /** True or false; false where it is left out. */
  flag(name: string): bool {
    const value = this.json.get(name);
    if (value.exists && !value.isBoolean) this.refuse(name);
    return value.isTrue;
  }
  /** Milliseconds since the epoch, of a time such as 2025-02-20T12:30:00Z. */
  time(name: string): i64 {
    const text = this.text(name);
    const places = "dddd-dd-ddTdd:dd:ddZ";
    let fits: bool = text.length == places.length;
    for (let i = 0; fits && i < text.length; i++) {
      fits = places.charAt(i) == "d" ? isDigits(text.charAt(i)) : text.charAt(i) == places.charAt(i);
    }
    if (fits) {
      const time = Date.fromString(text);
      if (time.toISOString() == text.replace("Z", ".000Z")) return time.getTime(); // so there is such a day
    }
    this.refuse(name);
    return 0;
  }
  object(name: string): Members {
    const value = this.json.get(name);
    if (!value.isObject) this.refuse(name);
    return new Members(value, `${this.path}${name}.`, this.wrong);
  }
  list(name: string): Members[] {
    const value = this.json.get(name);
    if (!value.isArray) this.refuse(name);
    const members: Members[] = [];
    const items = value.items;
    for (let i = 0; i < items.length; i++) members.push(new Members(items[i], `${this.path}${name}.${i}.`, this.wrong));
    return members;
  }
  refuse(name: string): void {
    this.wrong.push(this.path + name);
  }
}
