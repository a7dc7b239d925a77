//! What the description of every operation has: who may call it, and the refusals that anyone can meet.

use utoipa::{
    IntoParams as _, ToSchema as _,
    openapi::{
        Content, Ref, RefOr, ResponseBuilder, SecurityRequirement,
        path::{Operation, ParameterIn},
    },
};

use super::{
    contract::SCOPE,
    idempotency::{IdempotencyKeyHeader, Repeats},
    permission::Permission,
    problem::{PROBLEM_JSON, ProblemBody},
};

/// Adds what every operation has: who may call it, and the refusals anyone can meet.
pub(super) fn finish(operation: &mut Operation, (permission, repeats): (Permission, Repeats), path: &str) {
    if matches!(permission, Permission::Public | Permission::CheckedByPlugin) {
        operation.security = Some(vec![SecurityRequirement::default()]);
    } else {
        let scope = permission.scope();
        let scoped = scope.map(|scope| format!(" Scope: `{scope}`.")).unwrap_or_default();
        let who = format!("Roles: {}.{scoped}", permission.roles_text());
        if let Some(scope) = scope {
            operation.extensions.get_or_insert_default().insert(SCOPE.to_owned(), scope.into());
        }
        let description = operation.description.get_or_insert_default();
        *description = if description.is_empty() { who } else { format!("{description}\n\n{who}") };
        refusal(operation, "401", "No valid token");
        refusal(operation, "403", "The token's role, routes, scopes or origins do not include this");
        refusal(operation, "422", "Fields or parameters cannot be taken; each is named");
        refusal(operation, "429", "More calls than this token may make; `Retry-After` says when to go on");
    }
    if repeats == Repeats::ByKey {
        let key = IdempotencyKeyHeader::into_params(|| Some(ParameterIn::Header));
        operation.parameters.get_or_insert_default().extend(key.into_iter().map(RefOr::T));
        refusal(operation, "409", "`in_progress` or `outcome_unknown`: what the Idempotency-Key means is not finished");
    }
    if path.contains('{') {
        refusal(operation, "404", "There is no such thing, or it is not the caller's to see");
    }
    if operation.request_body.is_some() {
        refusal(operation, "400", "The body cannot be read");
        refusal(operation, "408", "The body did not arrive in time");
        refusal(operation, "413", "The body is too large");
        refusal(operation, "415", "The content type is not taken here");
    }
    refusal(operation, "500", "The engine failed; its log says why");
    refusal(operation, "503", "The database is not available; try again after `Retry-After` seconds");
    // Refusals that a handler declares itself need no schema there.
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.content.is_empty()
            && (status.starts_with('4') || status.starts_with('5'))
        {
            response.content.insert(PROBLEM_JSON.to_owned(), problem_content().into());
        }
    }
}

fn refusal(operation: &mut Operation, status: &str, description: &str) {
    let response = || ResponseBuilder::new().description(description).build().into();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(response);
}

fn problem_content() -> Content {
    Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name(ProblemBody::name()))))
}
