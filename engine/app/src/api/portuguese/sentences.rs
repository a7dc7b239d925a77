//! What verbs say of what happened this time, in English and in Portuguese. `{}` stands for what a sentence names: an id, a
//! number, a word of the interface; in the same order in both.

/// English, Portuguese. Of two that fit the first counts.
const SENTENCES: &[(&str, &str)] = &[
    // Tokens and permission.
    ("`{}` is not among this token's routes", "`{}` não está entre as rotas deste token"),
    ("this needs the scope {}, which is not among this token's", "isto exige o escopo {}, que este token não tem"),
    (
        "a token of role {} may not do this; roles that may: {}",
        "um token de papel {} não pode fazer isto; papéis que podem: {}",
    ),
    ("this token is bound to no integrator", "este token não está ligado a nenhum integrador"),
    (
        "this token works from the origins and addresses it is pinned to only",
        "este token só funciona das origens e endereços a que está preso",
    ),
    ("the token is unknown, revoked or expired", "o token é desconhecido, foi revogado ou venceu"),
    ("this call needs `Authorization: Bearer TOKEN`", "esta chamada precisa de `Authorization: Bearer TOKEN`"),
    ("the Authorization header is not `Bearer TOKEN`", "o cabeçalho Authorization não é `Bearer TOKEN`"),
    (
        "more calls than this token may make; try again after the seconds in `Retry-After`",
        "mais chamadas do que este token pode fazer; tente de novo depois dos segundos em `Retry-After`",
    ),
    (
        "only an admin of the tenant {} may see and enter tenants",
        "só um administrador do tenant {} vê e cadastra tenants",
    ),
    (
        "only the tenant {} sees calls that belong to no tenant",
        "só o tenant {} vê chamadas que não são de nenhum tenant",
    ),
    (
        "{} holds a live token; regenerate that one, or revoke it first",
        "{} tem um token vivo; gere esse de novo ou revogue-o antes",
    ),
    (
        "it is the tenant's last admin token that may do everything; make another one first, without routes, scopes, origins \
         and an end",
        "é o último token de administrador do tenant que pode tudo; faça outro antes, sem rotas, escopos, origens nem data de \
         fim",
    ),
    (
        "would narrow the tenant's last admin token that may do everything; leave it out, or make another one first, without \
         routes, scopes, origins and an end",
        "restringiria o último token de administrador do tenant que pode tudo; retire-o, ou faça outro antes, sem rotas, \
         escopos, origens nem data de fim",
    ),
    ("it was revoked; make a new one for {}", "foi revogado; faça um novo para {}"),
    ("it has expired; make a new one for {}", "venceu; faça um novo para {}"),
    (
        "is missing; the role integrator sees one integrator's things only",
        "falta; o papel integrator vê só as coisas de um integrador",
    ),
    (
        "only the role integrator is bound to one; leave it out, or choose that role",
        "só o papel integrator se liga a um; retire-o ou escolha esse papel",
    ),
    (
        "was used before; bring another, or leave it out to have one made",
        "já foi usado; traga outro, ou retire-o para que um seja feito",
    ),
    ("is past already; give a later time, or leave it out", "já passou; dê um horário posterior ou retire-o"),
    ("is past already; revoke the token to end it now", "já passou; revogue o token para encerrá-lo agora"),
    ("goes by `{}`, which this token is not shown; leave it out", "depende de `{}`, que este token não vê; retire-o"),
    (
        "the answer tells about `{}`, which this token is not shown; use a token that is",
        "a resposta revela `{}`, que este token não vê; use um token que o veja",
    ),
    ("there is no scope {}; there are {}", "não existe o escopo {}; existem {}"),
    (
        "there is no such route; write METHOD and path as /openapi.json has them (GET /v1/deliveries/{id})",
        "não existe essa rota; escreva MÉTODO e caminho como em /openapi.json (GET /v1/deliveries/{id})",
    ),
    (
        "must be a field's name or a JSON pointer of 1 to {} bytes",
        "deve ser o nome de um campo ou um ponteiro JSON de 1 a {} bytes",
    ),
    (
        "is no JSON pointer: `~` must be followed by 0 or 1 (RFC 6901)",
        "não é um ponteiro JSON: depois de `~` vem 0 ou 1 (RFC 6901)",
    ),
    // What is not there, or there already.
    ("there is no such path", "não existe esse caminho"),
    ("there is no such setting; there is {} and MODULE{}", "não existe essa configuração; existem {} e MODULE{}"),
    ("there is no such integrator; enter it first", "não existe esse integrador; cadastre-o antes"),
    ("there is no such integrator", "não existe esse integrador"),
    ("there is no such endpoint", "não existe esse endpoint"),
    ("there is no such delivery", "não existe essa entrega"),
    ("there is no such event type", "não existe esse tipo de evento"),
    ("there is no such event", "não existe esse evento"),
    ("there is no such token", "não existe esse token"),
    ("there is no such tenant", "não existe esse tenant"),
    ("there is no such inbound", "não existe essa entrada"),
    ("there is no such secret", "não existe esse segredo"),
    ("there is no such plugin", "não existe esse plugin"),
    ("this path takes {}", "este caminho aceita {}"),
    ("there is no integrator of this id or slug", "não há integrador com esse id ou slug"),
    ("there is a tenant {} already; choose another slug", "já existe um tenant {}; escolha outro slug"),
    ("there is an integrator {} already; choose another slug", "já existe um integrador {}; escolha outro slug"),
    (
        "there is an inbound {} already, of this tenant or another; choose another name",
        "já existe uma entrada {}, deste tenant ou de outro; escolha outro nome",
    ),
    ("event type {} exists already; change it with PATCH", "o tipo de evento {} já existe; altere-o com PATCH"),
    ("the catalogue has no such type; enter it first", "o catálogo não tem esse tipo; cadastre-o antes"),
    ("{} already exists or is in use", "{}: já existe ou está em uso"),
    (
        "{} has or had endpoints, whose deliveries are kept; set active to false instead",
        "{} tem ou teve endpoints, cujas entregas são mantidas; ponha active em false",
    ),
    (
        "the tenant {} runs the engine; it keeps its slug and stays",
        "o tenant {} faz o motor funcionar; mantém seu slug e fica",
    ),
    (
        "{} belongs to the engine and can be neither described anew nor deleted; set enabled to false",
        "{} pertence ao motor e não pode ser descrito de novo nem excluído; ponha enabled em false",
    ),
    (
        "it was changed since that `ETag` was answered; read it again and decide anew",
        "mudou desde que esse `ETag` foi respondido; leia de novo e decida outra vez",
    ),
    (
        "the {} is being changed by others at this moment; try again",
        "outros estão alterando isto neste momento ({}); tente de novo",
    ),
    (
        "an endpoint stays with its integrator; register it anew under the other one",
        "um endpoint fica com seu integrador; cadastre-o de novo no outro",
    ),
    // Deliveries and sending by hand.
    ("a try is under way; wait for how it ends", "uma tentativa está em andamento; espere como ela termina"),
    ("the endpoint of this delivery was deleted", "o endpoint desta entrega foi excluído"),
    (
        "the event of this delivery is kept no longer (retention.payload_days); send a new one",
        "o evento desta entrega não é mais guardado (retention.payload_days); envie um novo",
    ),
    (
        "the endpoint takes the newest version only, and delivery {} is newer",
        "o endpoint só recebe a versão mais nova, e a entrega {} é mais nova",
    ),
    ("a delivery that is {} cannot be tried again", "uma entrega em {} não pode ser tentada de novo"),
    ("the delivery is {} already", "a entrega já está em {}"),
    (
        "the endpoint does not subscribe to {}; add it to event_types first",
        "o endpoint não assina {}; inclua-o antes em event_types",
    ),
    ("nothing of type {} was ever published", "nada do tipo {} foi publicado até agora"),
    (
        "delivery {} comes first and is not finished; the endpoint keeps its order",
        "a entrega {} vem antes e não terminou; o endpoint mantém a ordem",
    ),
    (
        "the endpoint's filter takes none of the newest {} events of type {}",
        "o filtro do endpoint não deixa passar nenhum dos {} eventos mais novos do tipo {}",
    ),
    (
        "the endpoint has a newer event of type {} than the newest that its filter takes; nothing older is sent after it",
        "o endpoint tem um evento do tipo {} mais novo que o mais novo que o filtro dele deixa passar; nada mais antigo é \
         enviado depois dele",
    ),
    (
        "an attempt is queued or under way and did not end in time; it goes on, look at the delivery",
        "uma tentativa espera ou está em andamento e não terminou a tempo; ela continua, veja a entrega",
    ),
    ("the attempt was put off; look at the delivery", "a tentativa foi adiada; veja a entrega"),
    (
        "what the engine itself tells goes out as it happens and is not sent by hand; try the endpoint with an example instead",
        "o que o próprio motor conta sai quando acontece e não é enviado à mão; experimente o endpoint com um exemplo",
    ),
    ("{} is disabled in the catalogue; enable it there first", "{} está desativado no catálogo; ative-o lá antes"),
    ("webhooks are switched off for {}; switch them on first", "os webhooks estão desligados para {}; ligue-os antes"),
    ("the endpoint is disabled; enable it with PATCH first", "o endpoint está desativado; ative-o antes com PATCH"),
    ("the endpoint's queue is paused; resume it first", "a fila do endpoint está pausada; retome-a antes"),
    ("integrator {} is not active; activate it first", "o integrador {} não está ativo; ative-o antes"),
    (
        "the setting use_webhooks is off; switch it on first",
        "a configuração use_webhooks está desligada; ligue-a antes",
    ),
    ("this node takes no work at the moment; try again", "este nó não aceita trabalho no momento; tente de novo"),
    (
        "finding these takes too long; say from when on (created_from), or filter by endpoint, integrator, event_type or state \
         as well, or sort by another column",
        "encontrar estes demora demais; diga a partir de quando (created_from), filtre também por endpoint, integrator, \
         event_type ou state, ou ordene por outra coluna",
    ),
    // Recoveries.
    (
        "{} recoveries of this tenant are under way; wait for one to end, or cancel one",
        "{} recuperações deste tenant estão em andamento; espere que uma termine ou cancele uma",
    ),
    ("the recovery is {} already", "a recuperação já está em {}"),
    (
        "finding these takes too long; give a later time, or filter by endpoint, integrator, event_type or state as well",
        "encontrar estes demora demais; dê um horário posterior, ou filtre também por endpoint, integrator, event_type ou state",
    ),
    ("must be in the past", "deve estar no passado"),
    ("must be later than `since`", "deve ser posterior a `since`"),
    (
        "is not built yet: pin the version on the endpoint (`plugin`: `name@1.2.0`), then recover",
        "ainda não existe: fixe a versão no endpoint (`plugin`: `name@1.2.0`) e depois recupere",
    ),
    // Events.
    (
        "the id of event {} was used before with another body; a new fact needs a new id",
        "o id do evento {} já foi usado com outro corpo; um fato novo precisa de um id novo",
    ),
    ("a payload may have at most {} bytes", "um payload pode ter no máximo {} bytes"),
    ("must have at most {} bytes", "pode ter no máximo {} bytes"),
    ("the body may have at most {} bytes inflated", "o corpo pode ter no máximo {} bytes depois de descomprimido"),
    ("the body may have at most {} bytes", "o corpo pode ter no máximo {} bytes"),
    ("the body took longer than {} s", "o corpo demorou mais de {} s"),
    ("the body broke off: {}", "o corpo se interrompeu: {}"),
    ("must not be nested deeper than {}", "não pode ter mais de {} níveis"),
    ("must have 1 to {} events", "deve ter de 1 a {} eventos"),
    ("must have 1 to {} bytes", "deve ter de 1 a {} bytes"),
    ("must not hold control characters", "não pode conter caracteres de controle"),
    ("may hold letters, digits and . - _ / : only", "só pode conter letras, dígitos e . - _ / :"),
    (
        "may hold visible ASCII characters only, no spaces; it travels in a header",
        "só pode conter caracteres ASCII visíveis, sem espaços; vai num cabeçalho",
    ),
    (
        "is one of the engine's own, which only the engine makes; choose another",
        "é um dos do motor, que só ele faz; escolha outro",
    ),
    ("must be at most {} days ahead", "pode estar no máximo {} dias à frente"),
    ("the content type says JSON, but: {}", "o tipo de conteúdo diz JSON, mas: {}"),
    ("send JSON with `Content-Type: application/json`", "envie JSON com `Content-Type: application/json`"),
    // Idempotency keys.
    (
        "this Idempotency-Key was used for another request within 24 hours; a new action needs a new key",
        "esta Idempotency-Key foi usada para outro pedido nas últimas 24 horas; uma ação nova precisa de uma chave nova",
    ),
    (
        "a call with this Idempotency-Key was begun and its answer is lost; see what became of it, then use a new key",
        "uma chamada com esta Idempotency-Key começou e sua resposta se perdeu; veja o que foi feito dela, depois use uma chave nova",
    ),
    (
        "the call with this Idempotency-Key was answered {} and may have been carried out; see what became of it, then use a new key",
        "a chamada com esta Idempotency-Key foi respondida {} e pode ter sido executada; veja o que foi feito dela, depois use uma chave nova",
    ),
    (
        "is not taken here; give each event an `id`, which does the same for each",
        "não é aceito aqui; dê um `id` a cada evento, que faz o mesmo por cada um",
    ),
    ("give it once, with 1 to {} visible ASCII characters", "dê uma só vez, com 1 a {} caracteres ASCII visíveis"),
    (
        "give the `ETag` as it was answered, quotes included, or *",
        "dê o `ETag` como foi respondido, com as aspas, ou *",
    ),
    // Queries.
    (
        "must be a day such as 2026-01-31 or an RFC 3339 time such as 2026-01-31T12:00:00Z",
        "deve ser um dia como 2026-01-31 ou um horário RFC 3339 como 2026-01-31T12:00:00Z",
    ),
    ("must not be earlier than where the range begins", "não pode ser antes de onde o período começa"),
    (
        "says all there is to say; leave attempts_gte and attempts_lte out",
        "já diz tudo; retire attempts_gte e attempts_lte",
    ),
    ("must not be less than attempts_gte", "não pode ser menor que attempts_gte"),
    ("may have at most {} words", "pode ter no máximo {} palavras"),
    ("names {} twice; once is enough", "cita {} duas vezes; uma basta"),
    ("names {} columns; at most {} make an order", "cita {} colunas; no máximo {} formam uma ordem"),
    (
        "{} is no column; sort by {}, with `-` for the largest first",
        "{} não é coluna; ordene por {}, com `-` para o maior primeiro",
    ),
    ("is of another filter or order; begin again without one", "é de outro filtro ou ordem; recomece sem ele"),
    // Names, lists and numbers.
    (
        "must be 1 to {} lower-case letters, digits and . - _, a letter or digit first (sintegre-link)",
        "deve ter de 1 a {} letras minúsculas, dígitos e . - _, começando por letra ou dígito (sintegre-link)",
    ),
    (
        "must be 1 to {} lower-case letters, digits and . - _, a letter or digit first",
        "deve ter de 1 a {} letras minúsculas, dígitos e . - _, começando por letra ou dígito",
    ),
    ("looks like an id; choose a word", "parece um id; escolha uma palavra"),
    ("must be a whole number from {} to {}", "deve ser um número inteiro de {} a {}"),
    ("must lie between {} and {}, which the setting {} says", "deve ficar entre {} e {}, como diz a configuração {}"),
    (
        "must hold 1 to {} waits, the first try's (usually 0) included",
        "deve ter de 1 a {} esperas, incluída a da primeira tentativa (em geral 0)",
    ),
    ("no wait may be over {} ms (7 days)", "nenhuma espera pode passar de {} ms (7 dias)"),
    ("at most {} bytes of compact JSON", "no máximo {} bytes de JSON compacto"),
    (
        "at most {}; a pattern such as order.* takes many at once",
        "no máximo {}; um padrão como order.* abrange muitos de uma vez",
    ),
    ("at most {} bytes", "no máximo {} bytes"),
    ("at most {} services", "no máximo {} serviços"),
    ("at most {} headers", "no máximo {} cabeçalhos"),
    ("at most {} labels", "no máximo {} etiquetas"),
    ("at most {} hosts", "no máximo {} hosts"),
    ("at most {} names", "no máximo {} nomes"),
    ("must be pt-BR or en", "deve ser pt-BR ou en"),
    // Endpoints and filters.
    (
        "is missing; give the slug or id of the integrator it belongs to",
        "falta; dê o slug ou o id do integrador a que pertence",
    ),
    ("is missing; this type of authentication needs it", "falta; este tipo de autenticação precisa dele"),
    (
        "is missing; name the plugin that checks and answers the calls",
        "falta; diga o plugin que confere e responde as chamadas",
    ),
    (
        "is missing; the endpoint subscribes to no type of the catalogue, so name one",
        "falta; o endpoint não assina nenhum tipo do catálogo, então diga um",
    ),
    (
        "the catalogue has no {}, and a token of one integrator enters no types; have it entered, or subscribe by a pattern",
        "o catálogo não tem {}, e um token de um integrador não cadastra tipos; peça que seja cadastrado ou assine por um padrão",
    ),
    (
        "does not belong to type {}; leave it out, or choose the type it belongs to",
        "não faz parte do tipo {}; retire-o ou escolha o tipo a que pertence",
    ),
    (
        "no plugin is there to take it; name one, or leave config out",
        "não há plugin que o receba; diga um ou retire config",
    ),
    // Who has kept secrets sent where.
    (
        "is kept for the address that the endpoint has now (scheme, host and port); give it again for the new one, or have \
         somebody change the url who may manage secrets",
        "é guardado para o endereço que o endpoint tem agora (esquema, host e porta); informe-o de novo para o novo endereço, \
         ou peça a quem pode gerenciar segredos que altere a url",
    ),
    (
        "a token of one integrator does not choose it: leave it out, or ask the operator to set it on the endpoint or for the \
         integrator",
        "um token de um integrador não o escolhe: retire-o, ou peça ao operador que o defina no endpoint ou no integrador",
    ),
    (
        "a token of one integrator does not take it off, and could not put it back: leave it out, or ask the operator to take \
         it off",
        "um token de um integrador não o retira, e não poderia pô-lo de volta: deixe este campo de fora, ou peça ao operador \
         que o retire",
    ),
    (
        "a token of one integrator may not give a `payload`; leave it out, and the newest event's is sent",
        "um token de um integrador não pode dar um `payload`; retire-o, e é enviado o do evento mais novo",
    ),
    (
        "{} may send secrets along (its grants have credentials or reveal), and {} is not among its granted hosts: have \
         somebody who may manage secrets grant the host to the plugin, or make this change",
        "{} pode enviar segredos (tem credentials ou reveal entre suas concessões), e {} não está entre os hosts concedidos: \
         peça a quem pode gerenciar segredos que conceda o host ao plugin, ou que faça esta alteração",
    ),
    (
        "{} may read secrets whole, so that which of its versions runs is for those who may manage secrets: name it without a \
         version or channel, or have one of them make this change",
        "{} pode ler segredos inteiros, e por isso quem decide qual versão dele executa é quem pode gerenciar segredos: nomeie-o \
         sem versão nem canal, ou peça a uma dessas pessoas que faça esta alteração",
    ),
    (
        "{} may read secrets whole (its grants have reveal), so that a version which the channel {} did not mean since then is \
         let run by those who may manage secrets: push a new one to a channel that nothing uses (next), and have one of them \
         promote it",
        "{} pode ler segredos inteiros (tem reveal entre suas concessões), e por isso uma versão para a qual o canal {} não \
         apontou desde então só é posta em execução por quem pode gerenciar segredos: publique uma versão nova num canal que \
         nada usa (next), e peça a uma dessas pessoas que a promova",
    ),
    (
        "no connection of this tenant is called {}; write its url under [connections.{}] in the engine's configuration, and name \
         the tenant in its tenants where that is not the first",
        "nenhuma conexão deste tenant se chama {}; escreva a url dela em [connections.{}] na configuração do motor, e ponha o \
         tenant em tenants dela quando não for o primeiro",
    ),
    ("is nested too deep; at most {} levels", "tem níveis demais; no máximo {}"),
    ("has too many clauses; at most {}", "tem cláusulas demais; no máximo {}"),
    (
        "looks at nothing; give path (a JSON pointer into the payload) or label, or all, any, not",
        "não olha nada; dê path (um ponteiro JSON no payload) ou label, ou all, any, not",
    ),
    ("compares with nothing; add one of {}", "não compara com nada; acrescente um de {}"),
    ("comes beside path; a clause looks at one of them", "vem junto com path; uma cláusula olha só um deles"),
    (
        "is no operator; there are {}, and all, any, not around clauses",
        "não é operador; existem {}, e all, any, not em volta de cláusulas",
    ),
    ("must be a list of one clause or more", "deve ser uma lista de uma cláusula ou mais"),
    ("must be a list of 1 to {} values", "deve ser uma lista de 1 a {} valores"),
    ("must be a text: a JSON pointer such as /customer/id", "deve ser um texto: um ponteiro JSON como /customer/id"),
    // What the surroundings do.
    (
        "the database is not available; what was asked for may have been carried out",
        "o banco de dados não está disponível; o que foi pedido pode ter sido executado",
    ),
    ("the database refuses a value of this request", "o banco de dados recusa um valor deste pedido"),
    ("the engine failed; its log says why", "o motor falhou; o log dele diz por quê"),
    (
        "this token's `redact` hides fields, and this form of answer cannot be looked through; ask for JSON",
        "o `redact` deste token oculta campos, e esta forma de resposta não pode ser examinada; peça JSON",
    ),
];

/// The sentence in Portuguese, where it is known.
pub(super) fn told(text: &str) -> Option<String> {
    let (named, portuguese) =
        SENTENCES.iter().find_map(|(english, portuguese)| Some((named(english, text)?, portuguese)))?;
    let mut named = named.into_iter();
    let mut out = String::with_capacity(text.len());
    for (n, part) in portuguese.split("{}").enumerate() {
        if n > 0 {
            out.push_str(named.next().unwrap_or_default());
        }
        out.push_str(part);
    }
    Some(out)
}

/// What a text has where the pattern has `{}`; none where it is another text.
fn named<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut parts = pattern.split("{}").peekable();
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut named = Vec::new();
    while let Some(part) = parts.next() {
        // The last part is the end; what stands before it may hold anything.
        let at = match parts.peek() {
            None => rest.len().checked_sub(part.len()).filter(|_| rest.ends_with(part))?,
            Some(_) => rest.find(part)?,
        };
        let (name, after) = rest.split_at_checked(at)?;
        named.push(name);
        rest = after.get(part.len()..)?;
    }
    rest.is_empty().then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p31_what_a_sentence_names_stays_as_it_is() {
        let of = |text: &str| told(text).unwrap_or_default();
        assert_eq!(
            of("a delivery that is succeeded cannot be tried again"),
            "uma entrega em succeeded não pode ser tentada de novo"
        );
        assert_eq!(of("must be a whole number from 1 to 256"), "deve ser um número inteiro de 1 a 256");
        assert_eq!(
            of("a token of role producer may not do this; roles that may: admin, operator"),
            "um token de papel producer não pode fazer isto; papéis que podem: admin, operator"
        );
        assert_eq!(told("something that nobody says"), None);
    }

    #[test]
    fn p31_every_sentence_says_the_same_things_in_both_languages_and_is_reached() {
        for (n, (english, portuguese)) in SENTENCES.iter().enumerate() {
            assert_eq!(english.matches("{}").count(), portuguese.matches("{}").count(), "{english}");
            let example = english.replace("{}", "x1");
            let first = SENTENCES.iter().position(|(pattern, _)| named(pattern, &example).is_some());
            assert_eq!(first, Some(n), "{english} is hidden by one before it");
        }
    }
}
