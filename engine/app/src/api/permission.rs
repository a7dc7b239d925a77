//! Who may do what: the one table. A route names its permission when it is added (see
//! [`Routes::add`](super::routes::Routes::add)); what names none cannot be reached.

use engate_model::token::Role;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Permission {
    /// Nothing: no token is looked at.
    Public,
    /// Nothing either: the plugin behind it checks the call, and so gets the credentials that came with it.
    CheckedByPlugin,
    /// Health's details, metrics.
    ReadMetrics,
    /// The API's own description.
    ReadDocs,
    /// `POST /v1/events`.
    SendEvents,
    /// Events as they came in.
    ReadEvents,
    /// Deliveries and their attempts; an integrator sees its own.
    ReadDeliveries,
    /// Deliveries by the file and on paper.
    ExportDeliveries,
    /// Retry and cancel; an integrator its own.
    ManageDeliveries,
    /// Recoveries and how far they are.
    ReadRecoveries,
    /// Starting recoveries, and calling them off.
    ManageRecoveries,
    /// Depths of queues; an integrator sees its own.
    ReadQueues,
    /// Pause and resume of queues; an integrator its own.
    ManageQueues,
    /// The catalogue of event types.
    ReadEventTypes,
    /// Changes of the catalogue.
    ManageEventTypes,
    /// Integrators; an integrator sees itself.
    ReadIntegrators,
    /// Changes of integrators.
    ManageIntegrators,
    /// Endpoints; an integrator sees its own.
    ReadEndpoints,
    /// Changes of endpoints; an integrator its own.
    ManageEndpoints,
    /// Where partners call.
    ReadInbounds,
    /// Changes of where partners call.
    ManageInbounds,
    /// How far a setting-up is.
    ReadWizards,
    /// Setting up: it makes endpoints, jobs and secrets.
    ManageWizards,
    /// Jobs and their runs.
    ReadJobs,
    /// Changes of jobs, and what is done with them by hand.
    ManageJobs,
    /// Plugins, their versions and grants.
    ReadPlugins,
    /// Changes of plugins.
    ManagePlugins,
    /// Names of secrets, never values.
    ReadSecrets,
    /// Changes of secrets.
    ManageSecrets,
    /// Settings.
    ReadSettings,
    /// Changes of settings.
    ManageSettings,
    /// Tokens, never values.
    ReadTokens,
    /// Changes of tokens.
    ManageTokens,
    /// Giving one's own token up: every holder may, so that a leaked one can be ended by whoever has it.
    RevokeSelf,
    /// Tenants; the verb also asks for the first tenant.
    ManageTenants,
    /// Who did what.
    ReadAudit,
}

impl Permission {
    /// The roles that have it, admin first.
    pub(crate) const fn roles(self) -> &'static [Role] {
        use Role::{Admin, Auditor, Integrator, Operator, Producer};
        match self {
            Self::Public | Self::CheckedByPlugin => &[],
            Self::SendEvents => &[Admin, Operator, Producer],
            Self::ReadEvents
            | Self::ReadMetrics
            | Self::ReadPlugins
            | Self::ReadInbounds
            | Self::ReadWizards
            | Self::ReadJobs
            | Self::ReadRecoveries
            | Self::ExportDeliveries => &[Admin, Operator, Auditor],
            Self::ReadDeliveries
            | Self::ReadQueues
            | Self::ReadEventTypes
            | Self::ReadIntegrators
            | Self::ReadEndpoints
            | Self::ReadDocs => &[Admin, Operator, Integrator, Auditor],
            Self::ManageDeliveries | Self::ManageQueues | Self::ManageEndpoints => &[Admin, Operator, Integrator],
            Self::ManageEventTypes
            | Self::ManageIntegrators
            | Self::ManageInbounds
            | Self::ManageJobs
            | Self::ManageRecoveries
            | Self::ManagePlugins => &[Admin, Operator],
            Self::ReadSecrets | Self::ReadSettings | Self::ReadTokens | Self::ReadAudit => &[Admin, Auditor],
            Self::ManageSecrets
            | Self::ManageSettings
            | Self::ManageTokens
            | Self::ManageTenants
            | Self::ManageWizards => &[Admin],
            Self::RevokeSelf => &Role::ALL,
        }
    }

    /// The scope that a token with scopes needs for it, `noun:read` or `noun:write`; none: no scope takes it away.
    pub(crate) const fn scope(self) -> Option<&'static str> {
        Some(match self {
            Self::Public | Self::CheckedByPlugin | Self::RevokeSelf => return None,
            Self::ReadMetrics => "metrics:read",
            Self::ReadDocs => "docs:read",
            Self::SendEvents => "events:write",
            Self::ReadEvents => "events:read",
            Self::ReadDeliveries | Self::ExportDeliveries | Self::ReadRecoveries => "deliveries:read",
            Self::ManageDeliveries | Self::ManageRecoveries => "deliveries:write",
            Self::ReadQueues => "queues:read",
            Self::ManageQueues => "queues:write",
            Self::ReadEventTypes => "event-types:read",
            Self::ManageEventTypes => "event-types:write",
            Self::ReadIntegrators => "integrators:read",
            Self::ManageIntegrators => "integrators:write",
            Self::ReadEndpoints => "endpoints:read",
            Self::ManageEndpoints => "endpoints:write",
            Self::ReadInbounds => "inbounds:read",
            Self::ManageInbounds => "inbounds:write",
            Self::ReadWizards => "wizards:read",
            Self::ManageWizards => "wizards:write",
            Self::ReadJobs => "jobs:read",
            Self::ManageJobs => "jobs:write",
            Self::ReadPlugins => "plugins:read",
            Self::ManagePlugins => "plugins:write",
            Self::ReadSecrets => "secrets:read",
            Self::ManageSecrets => "secrets:write",
            Self::ReadSettings => "settings:read",
            Self::ManageSettings => "settings:write",
            Self::ReadTokens => "tokens:read",
            Self::ManageTokens => "tokens:write",
            Self::ManageTenants => "tenants:write",
            Self::ReadAudit => "audit:read",
        })
    }

    /// Whether its answers hold nothing that a partner or producer said, so that nothing in them can be restricted.
    pub(crate) const fn is_about_the_engine(self) -> bool {
        matches!(self, Self::Public | Self::CheckedByPlugin | Self::ReadMetrics | Self::ReadDocs | Self::RevokeSelf)
    }

    /// Whether `role` has it.
    pub(crate) fn allows(self, role: Role) -> bool {
        self.roles().contains(&role)
    }

    /// The roles in words, for people.
    pub(crate) fn roles_text(self) -> String {
        self.roles().iter().map(|role| role.code()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_only_sends_and_an_auditor_changes_nothing() {
        use Permission as P;
        let changes = [
            P::SendEvents,
            P::ManageDeliveries,
            P::ManageRecoveries,
            P::ManageQueues,
            P::ManageEventTypes,
            P::ManageIntegrators,
            P::ManageEndpoints,
            P::ManageInbounds,
            P::ManageJobs,
            P::ManagePlugins,
            P::ManageSecrets,
            P::ManageSettings,
            P::ManageTokens,
            P::ManageTenants,
            P::ManageWizards,
        ];
        assert!(changes.iter().all(|p| !p.allows(Role::Auditor) && p.allows(Role::Admin)));
        assert!(P::SendEvents.allows(Role::Producer));
        assert!(!P::ReadEvents.allows(Role::Producer) && !P::ReadDocs.allows(Role::Producer));
        assert!(!P::ManageSecrets.allows(Role::Operator) && !P::ReadTokens.allows(Role::Operator));
        assert!(!P::ReadInbounds.allows(Role::Integrator) && !P::ManageInbounds.allows(Role::Integrator));
        assert!(!P::ReadRecoveries.allows(Role::Integrator) && !P::ManageRecoveries.allows(Role::Integrator));
        assert!(!P::ReadEvents.allows(Role::Integrator) && !P::ManageIntegrators.allows(Role::Integrator));
    }
}
