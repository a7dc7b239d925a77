// A developer's first steps on a client whose types come from /openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./engate.js";

declare const process: { argv: string[] };

const [url, token, partner] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${token}` } });

/** The answer, or an end with the problem's code. */
function taken<T>(answer: { data?: T; error?: components["schemas"]["Problem"] | unknown; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.url}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const integrator = taken(
  await api.POST("/v1/integrators", {
    params: { header: { "Idempotency-Key": "typescript-1" } },
    body: { slug: "typescript", name: "TypeScript", services: ["webhooks"] },
  }),
);
const endpoint = taken(
  await api.POST("/v1/endpoints", {
    body: { integrator: integrator.slug, url: partner, event_types: ["client.made"], auth: { type: "basic", username: "u", password: "p" } },
  }),
);
if (!endpoint.signing_secret?.startsWith("whsec_")) throw new Error("no signing secret");

// An edit under If-Match, and one that comes too late.
const shown = await api.GET("/v1/endpoints/{id}", { params: { path: { id: endpoint.id } } });
const tag = shown.response.headers.get("etag") ?? "";
const edit = (description: string) =>
  api.PATCH("/v1/endpoints/{id}", { params: { path: { id: endpoint.id }, header: { "If-Match": tag } }, body: { description } });
taken(await edit("first"));
const late = await edit("second");
if (late.response.status !== 412 || late.error?.code !== "precondition_failed") throw new Error("a late edit was taken");

const sent = taken(await api.POST("/v1/events", { body: { type: "client.made", payload: { by: "typescript", amount: 10.5 } } }));
if (!("id" in sent)) throw new Error("one event has one answer");
for (let n = 0; n < 200; n++) {
  const found = taken(await api.GET("/v1/deliveries", { params: { query: { event: sent.id } } }));
  if (found.items[0]?.state === "succeeded") {
    const attempts = taken(await api.GET("/v1/deliveries/{id}/attempts", { params: { path: { id: found.items[0].id } } }));
    console.log(JSON.stringify({ delivery: found.items[0].id, status: attempts.items[0]?.response?.status }));
    process.argv.length = 0;
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
}
if (process.argv.length > 0) throw new Error("the delivery did not succeed");
