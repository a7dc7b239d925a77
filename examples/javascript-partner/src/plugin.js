// A partner that speaks Portuguese, wants money and dates the Brazilian way and a signature of its own, and says in the
// body whether it took the invoice. The rules are in examples/partner/README.md.

import { judge } from "./answer.js";
import { notice } from "./notice.js";
import { config, hmacHex, Json, plan, request } from "./sdk.js";

/** The name under which the engine holds the key. The plugin never sees the key itself. */
const KEY = "partner-key";
/** The partner's zone where none is configured: Brasília. */
const UTC_OFFSET_MINUTES = -180;

/** @type {import("engate:plugin/plugin@0.1.0").Plugin} */
export const plugin = {
  describe: () => ({
    id: "javascript-partner",
    version: "0.1.0",
    title: "Invoices, in JavaScript",
    configSchema: JSON.stringify({
      type: "object",
      additionalProperties: false,
      properties: {
        store: { type: "string", minLength: 1, maxLength: 40 },
        utc_offset_minutes: { type: "integer", minimum: -720, maximum: 840 },
      },
    }),
    eventTypes: ["invoice.paid"],
    interpret: "always",
    hosts: [],
    credentials: [],
    secrets: [{ name: KEY, purpose: "signs x-partner-signature" }],
  }),
};

/** @type {import("engate:plugin/delivery@0.1.0").Delivery} */
export const delivery = {
  transform(event, _delivery, endpoint, attempt) {
    const paid = Json.parse(event.data);
    if (paid.find("/invoice/internal")?.boolean()) return plan.skip("internal invoice");

    const body = JSON.stringify(notice(paid, config("/utc_offset_minutes") ?? UTC_OFFSET_MINUTES));
    // Every attempt gets a time and a signature of its own.
    const timestamp = String(Math.floor(attempt.now / 1000));
    const headers = {
      "content-type": "application/json",
      "x-partner-store": config("/store"),
      "x-partner-timestamp": timestamp,
      "x-partner-signature": `sha256=${hmacHex(KEY, `${timestamp}.${body}`)}`,
    };
    return plan.send(request("POST", endpoint.url, body, headers), paid.text("/invoice/number"));
  },

  interpret: judge,
};
