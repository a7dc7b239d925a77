// Money, times and documents the Brazilian way.

/** Cents as `R$ 1.234.567,89`; below zero `-R$ 0,05`. @param {bigint} cents */
export function money(cents) {
  const sign = cents < 0n ? "-" : "";
  const digits = String(cents < 0n ? -cents : cents).padStart(3, "0");
  const reais = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, ".");
  return `${sign}R$ ${reais},${digits.slice(-2)}`;
}

/**
 * `2025-02-20T12:30:00Z` as `20/02/2025 09:30` in the zone of that offset; undefined if it is no such time.
 * @param {string} utc
 * @param {number} offsetMinutes
 */
export function localTime(utc, offsetMinutes) {
  const instant = Date.parse(utc);
  // JavaScript reads more than this one form; what it writes shows whether it was this one.
  if (Number.isNaN(instant) || isoTime(instant) !== utc) return undefined;
  const local = isoTime(instant + offsetMinutes * 60_000);
  return `${local.slice(8, 10)}/${local.slice(5, 7)}/${local.slice(0, 4)} ${local.slice(11, 16)}`;
}

/** @param {number} instant */
const isoTime = (instant) => new Date(instant).toISOString().replace(".000Z", "Z");

/**
 * The text's characters in the places of the mask's `#`.
 * @param {string} mask
 * @param {string} text
 */
export function masked(mask, text) {
  const characters = Array.from(text);
  return mask.replaceAll("#", () => characters.shift() ?? "");
}
