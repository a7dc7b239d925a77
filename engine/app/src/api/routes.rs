//! Routes as modules add them: handler, description and permission in one call, so that none of the three can
//! be missing.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodFilter, on},
};
use utoipa::{
    __dev::{SchemaReferences, Tags},
    ToSchema,
    openapi::{
        HttpMethod, Paths, RefOr, Schema,
        path::{Operation, Parameter, ParameterIn},
    },
};

use super::{describe::finish, idempotency::Repeats, permission::Permission};
use crate::engine::Engine;

/// What the middleware must know of a route before its handler runs.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// What the caller needs.
    pub(crate) permission: Permission,
    /// Whether it takes query parameters; its handler then refuses the ones it does not know, all complaints at
    /// once.
    pub(crate) takes_query: bool,
    /// Method and template, as a token's `routes` and the access entries name it.
    pub(crate) route: Arc<str>,
    /// What an `Idempotency-Key` means to it.
    pub(crate) repeats: Repeats,
}

/// Rules by route template, then method.
pub(crate) type Rules = HashMap<String, HashMap<Method, Rule>>;

/// Every method that a partner may call with; GET answers HEAD too.
const ANY: [HttpMethod; 6] =
    [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put, HttpMethod::Patch, HttpMethod::Delete, HttpMethod::Options];

/// Routes with their descriptions and rules.
#[derive(Default)]
pub(crate) struct Routes {
    pub(crate) router: Router<Arc<Engine>>,
    pub(crate) paths: Paths,
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
    pub(crate) rules: Rules,
}

impl Routes {
    /// Adds `handler` under what `#[utoipa::path]` says of it: `described` is the `__path_NAME` that the macro
    /// makes beside a handler NAME.
    pub(crate) fn add<D, H, T>(mut self, _described: D, permission: Permission, handler: H) -> Self
    where
        D: utoipa::Path + SchemaReferences + for<'t> Tags<'t>,
        H: Handler<T, Arc<Engine>>,
        T: 'static,
    {
        let (path, methods, mut operation) = (D::path(), D::methods(), D::operation());
        D::schemas(&mut self.schemas);
        operation.tags.get_or_insert_default().extend(D::tags().iter().map(ToString::to_string));
        let takes_query = takes_query(&operation);
        let of_method = |method: &Method| Rule {
            permission,
            takes_query,
            route: format!("{method} {path}").into(),
            repeats: repeats(method, permission),
        };
        // Every route here has one method.
        let described = methods.first().map_or(Method::GET, |method| of(method).0);
        finish(&mut operation, (permission, repeats(&described, permission)), &path);
        for method in &methods {
            let (method, filter) = of(method);
            self.router = self.router.route(&path, on(filter, handler.clone()));
            let rule = of_method(&method);
            self.rules.entry(path.clone()).or_default().insert(method, rule);
        }
        self.paths.add_path_operation(path, methods, operation);
        self
    }

    /// As [`Routes::add`], for whatever method comes: what is said of one method is described for each, under an
    /// operation id of its own.
    pub(crate) fn add_any<D, H, T>(mut self, _described: D, permission: Permission, handler: H) -> Self
    where
        D: utoipa::Path + SchemaReferences + for<'t> Tags<'t>,
        H: Handler<T, Arc<Engine>>,
        T: 'static,
    {
        D::schemas(&mut self.schemas);
        for method in ANY {
            let (path, mut operation) = (D::path(), D::operation());
            operation.tags.get_or_insert_default().extend(D::tags().iter().map(ToString::to_string));
            let (name, filter) = of(&method);
            operation.operation_id = operation.operation_id.map(|id| format!("{id}_{}", name.as_str().to_lowercase()));
            if !matches!(method, HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch) {
                operation.request_body = None;
            }
            let route = format!("{name} {path}").into();
            let rule = Rule { permission, takes_query: true, route, repeats: Repeats::Free };
            finish(&mut operation, (permission, Repeats::Free), &path);
            self.router = self.router.route(&path, on(filter, handler.clone()));
            self.rules.entry(path.clone()).or_default().insert(name, rule);
            self.paths.add_path_operation(path, vec![method], operation);
        }
        self
    }

    /// Describes a schema that only parameters refer to; those of bodies come with their routes.
    pub(crate) fn describe<T: ToSchema>(mut self) -> Self {
        self.schemas.push((T::name().into_owned(), T::schema()));
        self
    }

    /// All of `other` too.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.paths.merge(other.paths);
        self.schemas.extend(other.schemas);
        for (path, methods) in other.rules {
            self.rules.entry(path).or_default().extend(methods);
        }
        self
    }
}

/// Every POST is an action, but for the one whose events have ids and those that no token stands behind.
pub(super) fn repeats(method: &Method, permission: Permission) -> Repeats {
    match permission {
        _ if *method != Method::POST => Repeats::Free,
        Permission::Public | Permission::CheckedByPlugin => Repeats::Free,
        Permission::SendEvents => Repeats::ById,
        _ => Repeats::ByKey,
    }
}

fn takes_query(operation: &Operation) -> bool {
    let is_query = |parameter: &RefOr<_>| match parameter {
        RefOr::T(Parameter { parameter_in, .. }) => *parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    };
    operation.parameters.iter().flatten().any(is_query)
}

fn of(method: &HttpMethod) -> (Method, MethodFilter) {
    match method {
        HttpMethod::Get => (Method::GET, MethodFilter::GET),
        HttpMethod::Post => (Method::POST, MethodFilter::POST),
        HttpMethod::Put => (Method::PUT, MethodFilter::PUT),
        HttpMethod::Delete => (Method::DELETE, MethodFilter::DELETE),
        HttpMethod::Patch => (Method::PATCH, MethodFilter::PATCH),
        HttpMethod::Head => (Method::HEAD, MethodFilter::HEAD),
        HttpMethod::Options => (Method::OPTIONS, MethodFilter::OPTIONS),
        HttpMethod::Trace => (Method::TRACE, MethodFilter::TRACE),
    }
}
