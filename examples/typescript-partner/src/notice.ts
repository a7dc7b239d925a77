// The same facts in the partner's words. The order of the fields here is their order in the body.

import { localTime, masked, money } from "./format.ts";
import { Json, Problem } from "./sdk.ts";

/** The one currency that the partner takes. */
const CURRENCY = "BRL";

export function notice(paid: Json, utcOffsetMinutes: number) {
  const moeda = paid.text("/invoice/currency");
  if (moeda !== CURRENCY) {
    throw new Problem("unsupported_currency", `only ${CURRENCY} is taken, not ${moeda}`);
  }
  const emissao = localTime(paid.text("/invoice/issued_at"), utcOffsetMinutes);
  if (emissao === undefined) {
    throw new Problem("invalid_payload", "invoice.issued_at is not a time such as 2025-02-20T12:30:00Z");
  }
  const address = paid.find("/customer/address");
  return {
    documento: paid.text("/invoice/number"),
    emissao,
    valor: money(BigInt(paid.integer("/invoice/amount_cents"))),
    moeda,
    cliente: {
      nome: paid.text("/customer/name"),
      ...cpfOrCnpj(paid.text("/customer/document")),
      ...(address && { endereco: endereco(address) }),
    },
    itens: paid.list("/items").map(item),
  };
}

function cpfOrCnpj(document: string): { cpf: string } | { cnpj: string } {
  switch (Array.from(document).length) {
    case 11:
      return { cpf: masked("###.###.###-##", document) };
    case 14:
      return { cnpj: masked("##.###.###/####-##", document) };
    default:
      throw new Problem("invalid_payload", "customer.document has neither 11 nor 14 digits");
  }
}

const endereco = (address: Json) => ({
  municipio: address.text("/city"),
  uf: address.text("/state"),
  cep: masked("#####-###", address.text("/zip")),
});

const item = (item: Json) => {
  const quantidade = item.integer("/quantity");
  return {
    codigo: item.text("/sku"),
    descricao: item.text("/description"),
    quantidade,
    // The product of two exact numbers may be no exact number; a bigint always is.
    total: money(BigInt(quantidade) * BigInt(item.integer("/unit_cents"))),
  };
};
