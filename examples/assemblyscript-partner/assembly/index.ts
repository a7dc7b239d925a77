// What the engine calls. Glue: there is nothing in it about a partner, take it as it is.
// exports.mjs gives `describe`, `transform` and `interpret` the names of the contract.
import { Attempt, Context, Delivery, Endpoint, Event, Exchange, Reader, Writer } from "./engate";
import * as partner from "./partner";

export function describe(): usize {
  const out = new Writer(68);
  partner.describe().write(out);
  return out.start;
}

export function transform(given: usize): usize {
  const from = new Reader(given);
  const event = Event.read(from);
  const context = new Context(Delivery.read(from), Endpoint.read(from), Attempt.read(from));
  const out = new Writer(72);
  partner.transform(event, context).write(out);
  return out.start;
}

export function interpret(given: usize): usize {
  const out = new Writer(32);
  partner.interpret(Exchange.read(new Reader(given))).write(out);
  return out.start;
}

/** The engine's way to allocate what it hands in. */
export function cabi_realloc(old: usize, _oldSize: usize, _align: usize, size: usize): usize {
  // @ts-ignore: asc knows them, editors do not
  return old ? __renew(old, size) : __new(size, idof<ArrayBuffer>());
}

/**
 * After each call, when the engine has read the result. With `--runtime minimal` nothing is freed before, so pointers
 * stay good through a whole call; here everything is freed that no global variable holds.
 */
export function release(_result: usize): void {
  // @ts-ignore: as above
  __collect();
}
