//! What people read of a refusal in Portuguese of Brazil (seed P31): title and cure of every code, the messages that
//! come of a field's schema, and what verbs say (`sentences`). Codes and fields stay as they are.

mod sentences;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::problem::ProblemBody;

/// The language tag of what is written here.
const LANGUAGE: HeaderValue = HeaderValue::from_static("pt-BR");
/// Ranges that one header may name; the rest is not looked at.
const RANGES_MAX: usize = 32;

/// Code, title, what to do about it. A test finds a code of [`MEANINGS`](super::meanings::MEANINGS) that is missing.
const TEXTS: &[(&str, &str, &str)] = &[
    ("invalid_json", "O corpo não é JSON", "Envie um único valor JSON em UTF-8; `detail` diz onde ele se quebra."),
    ("invalid_body", "O corpo não pode ser lido", "Envie o corpo inteiro, como anunciado nos cabeçalhos."),
    (
        "unauthorized",
        "Sem token válido",
        "Envie `Authorization: Bearer TOKEN` com um token que não esteja revogado nem vencido.",
    ),
    ("forbidden", "Não permitido para este token", "Use um token cujo papel inclua isto."),
    (
        "origin_not_allowed",
        "O token não funciona daqui",
        "Chame de uma das `origins` do token, ou peça a um administrador que as mude.",
    ),
    (
        "redacted",
        "A resposta pode revelar o que este token não vê",
        "Peça JSON ou NDJSON, de que os campos ocultos são retirados, e não filtre nem ordene por eles.",
    ),
    ("link_forged", "O link não é válido", "Use o link exatamente como foi entregue."),
    ("link_not_yet_valid", "O link ainda não é válido", "Compare os relógios das duas máquinas."),
    (
        "already_handed_over",
        "As credenciais já foram entregues",
        "Use as que foram entregues; se foram perdidas, peça novas à TOTVS.",
    ),
    (
        "not_provisioned",
        "Não há credenciais a entregar",
        "Espere até que o passo `provisioning` termine; ele diz em que ponto está.",
    ),
    (
        "step_locked",
        "Um passo anterior não foi concluído",
        "Conclua antes o passo que `detail` nomeia; `steps` do assistente diz como está cada um.",
    ),
    ("too_many_wizards", "Já há tantos assistentes quantos podem haver", "Exclua um de que não se precisa mais."),
    (
        "credentials_refused",
        "O serviço não aceita estas credenciais",
        "Compare-as com o e-mail da TOTVS; `errors` diz o que o serviço respondeu.",
    ),
    (
        "source_unusable",
        "A conexão não dá resposta que sirva",
        "Confira a URL da conexão e o que o usuário dela pode ver; `errors` diz o que o banco de dados respondeu.",
    ),
    (
        "service_unusable",
        "Um serviço não dá resposta que sirva",
        "Execute o passo `preflight`, ou dê o endereço do serviço em `welcome`; `errors` diz o que veio.",
    ),
    ("link_expired", "O link venceu", "Peça que a entrega seja enviada de novo: ela leva um link novo."),
    (
        "not_found",
        "Não existe",
        "Confira o id e o caminho; o que é de outro tenant ou integrador também não é encontrado.",
    ),
    ("files_not_served", "Este motor não serve arquivos", "Defina `files.root` para servir links assinados."),
    ("method_not_allowed", "O caminho não tem este método", "O cabeçalho `Allow` lista os métodos."),
    ("request_timeout", "O corpo não chegou a tempo", "Envie de novo, mais rápido."),
    ("conflict", "Colide com o que já existe", "Leia o estado atual e decida de novo."),
    (
        "precondition_failed",
        "Mudou desde que você leu",
        "Leia de novo, decida outra vez e envie o novo `ETag` em `If-Match`.",
    ),
    (
        "id_conflict",
        "O id já foi usado com outro corpo",
        "Use um id novo para um fato novo; repita o mesmo corpo para estar seguro.",
    ),
    (
        "narrow_the_range",
        "Encontrar estes registros demora demais",
        "Diga a partir de quando, filtre por mais um campo ou ordene por outra coluna; nenhuma listagem lê por mais de dois segundos.",
    ),
    (
        "too_many_rows",
        "Mais linhas do que esta forma comporta",
        "Reduza o período, escolha ids ou use `/v1/deliveries.csv`, que não tem limite.",
    ),
    ("not_allowed_in_state", "Não é possível neste estado", "Veja em que estado está."),
    ("too_many_diffs", "Já correm tantas comparações quantas podem", "Espere que uma termine ou cancele uma."),
    ("too_many_recoveries", "Já correm tantas recuperações quantas podem", "Espere que uma termine ou cancele uma."),
    (
        "newer_version",
        "Uma versão mais nova tomou o lugar",
        "Envie a mais nova, ou deixe-a passar no filtro do endpoint: nada mais antigo vai depois dela.",
    ),
    (
        "event_not_kept",
        "O que seria enviado não é mais guardado",
        "Publique o evento de novo; `retention.payload_days` diz por quanto tempo os eventos são guardados.",
    ),
    (
        "never_published",
        "Nada deste tipo foi publicado até agora",
        "Publique antes um evento do tipo, ou experimente o endpoint com `/test`.",
    ),
    ("not_subscribed", "O endpoint não assina este tipo", "Inclua-o antes em `event_types` do endpoint."),
    ("endpoint_disabled", "O endpoint está desativado", "Ative-o antes com PATCH (`enabled: true`)."),
    ("integrator_inactive", "O integrador não está ativo", "Ative antes o integrador."),
    ("webhooks_disabled", "Os webhooks estão desligados", "Ligue antes a configuração `use_webhooks`."),
    ("queue_paused", "A fila do endpoint está pausada", "Retome-a antes com `/v1/queues/{endpoint}/resume`."),
    ("filtered", "O filtro do endpoint não deixa passar", "Mude o filtro, ou publique um evento que passe por ele."),
    ("event_type_disabled", "O tipo de evento está desativado", "Ative-o antes no catálogo."),
    (
        "waits_behind",
        "Um anterior precisa terminar primeiro",
        "O endpoint mantém a ordem (`fifo`): espere a entrega anterior, tente-a de novo ou cancele-a.",
    ),
    (
        "idempotency_key_reused",
        "A Idempotency-Key significa outra chamada",
        "Use uma chave nova para uma ação nova; repita o mesmo pedido para ter a resposta dele de novo.",
    ),
    (
        "outcome_unknown",
        "Não se sabe o que foi feito da chamada",
        "Leia o estado atual para ver se foi executada; depois decida e use uma `Idempotency-Key` nova.",
    ),
    ("in_progress", "Está em andamento", "Tente de novo em instantes."),
    ("invalid_url", "A URL não pode ser usada", "Dê uma URL absoluta http:// ou https:// com host."),
    (
        "egress_denied",
        "O endereço não pode ser chamado",
        "Use um endereço público, ou peça ao operador que libere a rede em `egress.allow`.",
    ),
    ("already_exists", "Já existe", "Altere o que existe ou escolha outro nome."),
    ("not_a_sync", "O job não é um sync", "Só jobs cujo `run` é do tipo `sync` têm checkpoints e quarentena."),
    (
        "no_catalogue",
        "Um plugin não tem catálogo",
        "Só conexões listam suas tabelas; o que um plugin entrega é nomeado em `streams` do job, com `columns` onde o destino precisa delas.",
    ),
    (
        "run_in_progress",
        "Uma execução do job não terminou",
        "Espere por ela, cancele-a, ou dê ao job outra regra de sobreposição.",
    ),
    ("run_over", "A execução terminou", "Não há o que parar; execute o job de novo se preciso."),
    (
        "needs_configuration",
        "O job não está pronto",
        "Dê-lhe um agendamento cron, every ou always e inicie-o com `POST /v1/jobs/{id}/start`.",
    ),
    ("in_use", "Está em uso", "Retire primeiro o que o usa."),
    ("system_record", "Pertence ao motor", "Deixe como está; cadastre um seu."),
    ("client_has_token", "O cliente tem um token vivo", "Gere esse de novo, ou revogue-o antes."),
    (
        "last_admin_token",
        "Ninguém restaria para pôr as coisas em ordem",
        "Faça antes outro token de administrador, sem `routes`, `scopes`, `origins` nem `expires_at`.",
    ),
    ("version_taken", "A versão tem outro conteúdo", "`nome@versão` nunca muda; aumente a versão no manifesto."),
    (
        "config_mismatch",
        "Configurações em uso não servem",
        "Publique em outro canal, ajuste as configurações e depois ligue o canal.",
    ),
    (
        "inbound_refused",
        "A chamada não é aceita aqui",
        "Compare-a com o combinado; quem opera o motor acha o motivo no log, sob `x-request-id`.",
    ),
    ("rate_limited", "Chamadas demais", "Tente de novo depois dos segundos em `Retry-After`."),
    (
        "inbound_event_refused",
        "O que se fez da chamada não pode ser aceito",
        "O log do motor nomeia o evento e o campo: cadastre o tipo no catálogo ou corrija o plugin.",
    ),
    (
        "plugin_fault",
        "O plugin falhou",
        "Tente de novo; o log do motor tem a falha sob o `x-request-id` desta resposta.",
    ),
    (
        "inbound_unavailable",
        "A chamada não pode ser aceita agora",
        "Tente de novo depois dos segundos em `Retry-After`; o log do motor tem o motivo do plugin.",
    ),
    ("payload_too_large", "O corpo é grande demais", "Envie menos de uma vez."),
    ("unsupported_media_type", "O tipo de conteúdo não é aceito aqui", "Defina `Content-Type` com um que seja aceito."),
    (
        "schema_mismatch",
        "O conteúdo não atende ao esquema do seu tipo",
        "`errors` nomeia o lugar no conteúdo e a regra; corrija-o, ou mude `schema` do tipo de evento.",
    ),
    ("invalid", "Campos não podem ser aceitos", "`errors` nomeia cada campo e o que escrever no lugar."),
    ("too_large", "O componente é grande demais", "Gere um menor; `errors` diz o limite."),
    (
        "not_a_component",
        "Não é um componente WebAssembly",
        "Gere um componente, não um módulo nem texto; `engate plugin build` faz isso.",
    ),
    ("invalid_component", "O componente não é válido", "Gere de novo; `errors` diz o que o validador achou."),
    ("wrong_world", "Falta uma interface ao componente", "Exporte o que o mundo do contrato pede; `errors` a nomeia."),
    (
        "unknown_import",
        "O componente importa o que o motor não oferece",
        "Importe só o que o contrato oferece; `errors` nomeia a importação.",
    ),
    (
        "unsupported_version",
        "O componente fala outra versão do contrato",
        "Gere-o contra uma versão que `errors` lista.",
    ),
    (
        "too_many_resources",
        "O componente quer memória ou tabelas demais",
        "Reduza o que ele reserva; `errors` diz o limite.",
    ),
    ("compile_failed", "O componente não pôde ser compilado", "`errors` diz por quê."),
    ("compile_timeout", "O componente demorou demais para compilar", "Gere um menor ou mais simples."),
    (
        "describe_failed",
        "O componente não se descreve",
        "`describe` deve responder sem importar nada; `errors` diz o que houve.",
    ),
    ("bad_manifest", "O manifesto do componente não pode ser aceito", "Corrija o que `errors` nomeia."),
    ("headers_too_large", "Os cabeçalhos são grandes demais", "Envie menos cabeçalhos ou mais curtos."),
    ("internal", "O motor falhou", "O log dele tem uma linha com o `x-request-id` desta resposta."),
    (
        "unavailable",
        "O banco de dados não está disponível",
        "Tente de novo depois dos segundos em `Retry-After`. O que devia mudar pode ter mudado: leia antes, onde repetir o faria duas vezes.",
    ),
    ("timeout", "O motor demorou demais", "Tente de novo depois dos segundos em `Retry-After`."),
];

/// Messages of fields: what stands in English around what it names, and in Portuguese.
const MESSAGES: &[(&str, &str, &str, &str)] = &[
    ("is required", "", "é obrigatório", ""),
    ("is missing; ", "", "falta; ", ""),
    ("is given twice; keep one", "", "veio duas vezes; deixe uma", ""),
    ("is not known here; leave it out or correct its name", "", "não é conhecido aqui; retire-o ou corrija o nome", ""),
    ("is not taken here", "", "não é aceito aqui", ""),
    ("does not meet the schema: ", "", "não atende ao esquema: ", ""),
    ("is not valid JSON Schema 2020-12: ", "", "não é um JSON Schema 2020-12 válido: ", ""),
    ("cannot be taken", "", "não pode ser aceito", ""),
    ("must not be empty", "", "não pode ficar vazio", ""),
    ("must have at most ", " characters", "pode ter no máximo ", " caracteres"),
    ("must have at least ", " characters", "deve ter pelo menos ", " caracteres"),
    ("must have at most ", " items", "pode ter no máximo ", " itens"),
    ("must have at least ", " items", "deve ter pelo menos ", " itens"),
    ("must have at most ", " entries", "pode ter no máximo ", " entradas"),
    ("must have at least ", " entries", "deve ter pelo menos ", " entradas"),
    ("must be at most ", "", "deve ser no máximo ", ""),
    ("must be at least ", "", "deve ser no mínimo ", ""),
    ("must be less than ", "", "deve ser menor que ", ""),
    ("must be more than ", "", "deve ser maior que ", ""),
    ("must be one of ", "", "deve ser um de ", ""),
    ("must be a text or null", "", "deve ser um texto ou null", ""),
    ("must be a whole number or null", "", "deve ser um número inteiro ou null", ""),
    ("must be true or false or null", "", "deve ser true, false ou null", ""),
    ("must be a list or null", "", "deve ser uma lista ou null", ""),
    ("must be an object or null", "", "deve ser um objeto ou null", ""),
    ("must be a text", "", "deve ser um texto", ""),
    ("must be a whole number", "", "deve ser um número inteiro", ""),
    ("must be a number", "", "deve ser um número", ""),
    ("must be true or false", "", "deve ser true ou false", ""),
    ("must be a list", "", "deve ser uma lista", ""),
    ("must be an object", "", "deve ser um objeto", ""),
    ("must be a JSON object", "", "deve ser um objeto JSON", ""),
    ("must be null", "", "deve ser null", ""),
    ("must not name anything twice", "", "não pode repetir nada", ""),
    ("must match ", "", "deve casar com ", ""),
    (
        "must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
        "",
        "deve ser um horário RFC 3339, como 2026-01-31T12:00:00Z",
        "",
    ),
    ("must not hold the character U+0000", "", "não pode conter o caractere U+0000", ""),
    ("must begin with http:// or https://", "", "deve começar com http:// ou https://", ""),
    ("must lie between ", "", "deve ficar entre ", ""),
    ("fits several forms at once; keep to one", "", "serve a várias formas ao mesmo tempo; fique com uma", ""),
    ("there is no such integrator; enter it first", "", "não existe esse integrador; cadastre-o antes", ""),
    ("there is no such integrator", "", "não existe esse integrador", ""),
    ("not a cursor", "", "não é um cursor desta lista; passe adiante o `next` da página anterior como está", ""),
];

/// Whether the caller would rather read Portuguese than English (RFC 9110, 12.5.4).
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()) else { return false };
    let (mut portuguese, mut english) = (0.0_f32, 0.0_f32);
    for range in text.split(',').take(RANGES_MAX) {
        let (language, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(0.0);
        let primary = language.trim().split('-').next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("pt") {
            portuguese = portuguese.max(weight);
        } else if primary.eq_ignore_ascii_case("en") {
            english = english.max(weight);
        }
    }
    portuguese > english
}

/// Writes a refusal anew in Portuguese; any other answer stays as it is.
pub(super) fn told(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<ProblemBody>() else { return response };
    let problem = translated(problem);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_LANGUAGE, LANGUAGE);
    headers.append(header::VARY, HeaderValue::from_static("Accept-Language"));
    *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    response
}

/// Title and cure of a code.
pub(super) fn meaning(code: &str) -> Option<(&'static str, &'static str)> {
    TEXTS.iter().find(|(of, ..)| *of == code).map(|(_, title, cure)| (*title, *cure))
}

fn translated(problem: ProblemBody) -> ProblemBody {
    let Some((title, cure)) = meaning(problem.code) else { return problem };
    let errors: Vec<_> = problem.errors.into_iter().map(|error| error.with_message(message)).collect();
    let detail = if errors.is_empty() {
        // What happened this time; told in English only, it stands behind what the code means.
        sentences::told(&problem.detail).unwrap_or_else(|| format!("{} ({})", cure.replace('`', ""), problem.detail))
    } else {
        errors.iter().map(|error| error.told()).collect::<Vec<_>>().join("; ")
    };
    ProblemBody { title, detail, errors, ..problem }
}

/// A field's message; one that is not known here stays English.
fn message(text: String) -> String {
    if let Some(told) = sentences::told(&text) {
        return told;
    }
    for (head, tail, portuguese_head, portuguese_tail) in MESSAGES {
        let Some(rest) = text.strip_prefix(head) else { continue };
        // What has no end of its own either is the whole message or goes on with what it names.
        let Some(named) = rest.strip_suffix(tail) else { continue };
        let is_cursor = *head == "not a cursor";
        return format!("{portuguese_head}{}{portuguese_tail}", if is_cursor { "" } else { named });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meanings::MEANINGS;

    #[test]
    fn p31_every_code_has_its_texts_in_portuguese() {
        let missing: Vec<_> = MEANINGS.iter().map(|m| m.code).filter(|code| meaning(code).is_none()).collect();
        assert!(missing.is_empty(), "without Portuguese: {missing:?}");
        for (n, (code, ..)) in TEXTS.iter().enumerate() {
            assert!(MEANINGS.iter().any(|meaning| meaning.code == *code), "{code} is no code");
            assert!(TEXTS.iter().skip(n + 1).all(|(other, ..)| other != code), "{code} twice");
        }
    }

    #[test]
    fn p31_the_language_is_the_one_weighed_more() {
        let wants = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, text.parse().unwrap());
            is_wanted(&headers)
        };
        assert!(!is_wanted(&HeaderMap::new()));
        for yes in ["pt-BR", "pt", "PT-br,en;q=0.8", "en;q=0.5, pt;q=0.9", "fr, pt;q=0.1"] {
            assert!(wants(yes), "{yes}");
        }
        for no in ["en", "en, pt;q=0.9", "*", "pt;q=0", "fr", "pt;q=x"] {
            assert!(!wants(no), "{no}");
        }
    }

    #[test]
    fn p31_messages_of_fields_keep_what_they_name() {
        let of = |text: &str| message(text.to_owned());
        assert_eq!(of("must have at most 5 characters"), "pode ter no máximo 5 caracteres");
        assert_eq!(of("must have at most 5 items"), "pode ter no máximo 5 itens");
        assert_eq!(of("must be one of a, b"), "deve ser um de a, b");
        assert_eq!(of("must be a text or null"), "deve ser um texto ou null");
        assert_eq!(of("something else"), "something else");
    }
}
