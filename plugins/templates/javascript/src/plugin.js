// Delivers events to one partner: `transform` makes the request, the engine sends it, `interpret` judges the answer.

import { byStatus, Json, plan, request, verdict } from "./sdk.js";

/** @type {import("engate:plugin/plugin@0.1.0").Plugin} */
export const plugin = {
  // Asked once, when the plugin is installed.
  describe: () => ({
    id: "{{name}}",
    version: "0.1.0",
    title: "{{name}}",
    // JSON Schema of the settings; config("/name") in sdk.js reads one.
    configSchema: JSON.stringify({ type: "object", additionalProperties: false, properties: {} }),
    // Such as ["order.created", "invoice.*"]; empty: any.
    eventTypes: [],
    // Which answers `interpret` gets to see: "never", "non-2xx" or "always".
    interpret: "always",
    // What the operator is asked to grant.
    hosts: [],
    credentials: [],
    secrets: [],
  }),
};

/** @type {import("engate:plugin/delivery@0.1.0").Delivery} */
export const delivery = {
  // Event in, request out. Called again for every attempt; `attempt.now` is the only clock.
  transform(event, _delivery, endpoint, _attempt) {
    // The payload goes on byte for byte. To read it: Json.parse(event.data).text("/order").
    // To send nothing: plan.skip("why"). To refuse: throw new Problem("code", "what is wrong, and the cure").
    return plan.send(
      request("POST", endpoint.url, event.data, { "content-type": event.contentType, "x-event-id": event.id }),
    );
  },

  // Answer in, verdict out. This partner may say no in the body of a 200.
  interpret({ response }) {
    const error = Json.find(response.body)?.findText("/error");
    return error === undefined ? byStatus(response) : verdict.fail("refused_by_partner", error);
  },
};
