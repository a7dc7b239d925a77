// What the partner's answer means. The body counts more than the status.
/** @import { Exchange, Verdict } from "engate:plugin/delivery@0.1.0" */

import { isSuccess, Json, verdict } from "./sdk.js";

/** How long the partner wants to be left alone when it is busy. */
const BUSY_MS = 30_000;

/**
 * The first rule that fits counts.
 * @param {Exchange} exchange
 * @returns {Verdict}
 */
export function judge({ response, memo }) {
  const { status } = response;
  if (status === 410) return verdict.disableEndpoint("the partner is gone");

  const answer = Json.find(response.body);
  const resultado = answer?.findText("/resultado");
  const protocolo = answer?.findText("/protocolo");
  if (resultado === "ok" && protocolo !== undefined && isSuccess(response)) return verdict.success(protocolo);
  const codigo = answer?.findText("/codigo");
  if (resultado === "erro" && codigo !== undefined) {
    return refused(codigo, answer?.findText("/mensagem") ?? "", memo);
  }

  if (isSuccess(response)) return verdict.fail("unreadable_answer", "the answer is not the partner's JSON", true);
  if (status === 429 || status >= 500) return verdict.retry(`HTTP status ${status}`);
  return verdict.fail("http_status", `HTTP status ${status}`);
}

/**
 * @param {string} code
 * @param {string} message
 * @param {Exchange["memo"]} invoice
 */
function refused(code, message, invoice) {
  switch (code) {
    case "DUPLICADO":
      // It has the invoice already, under the number that `transform` left for us.
      return verdict.success(invoice);
    case "OCUPADO":
      return verdict.retry("the partner is busy", BUSY_MS);
    default:
      return verdict.fail(`partner_${code.toLowerCase()}`, message);
  }
}
