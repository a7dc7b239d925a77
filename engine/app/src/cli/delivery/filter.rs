//! Which deliveries: the filters of the API as options, the same for lists and exports.

use clap::{Args, builder::PossibleValuesParser};
use engate_model::delivery::DeliveryState;

/// Of which partners, in which states.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct SelectionArgs {
    /// Where it stands; several with commas
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::code)))]
    pub(in crate::cli) state: Vec<String>,

    /// How the last attempt ended; pending: there was none yet; several with commas
    #[arg(long, value_delimiter = ',', value_parser = ["yes", "no", "pending"])]
    pub(in crate::cli) success: Vec<String>,

    /// The partner: its slug or id; several with commas
    #[arg(long, value_name = "SLUG|ID", value_delimiter = ',')]
    pub(in crate::cli) integrator: Vec<String>,

    /// Key of the event's type; several with commas
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub(in crate::cli) event_type: Vec<String>,

    /// The endpoint's id (ep_...); several with commas
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(in crate::cli) endpoint: Vec<String>,

    /// Tried that often or more
    #[arg(long, value_name = "TRIES")]
    pub(in crate::cli) attempts_gte: Option<u32>,

    /// Tried that often or less
    #[arg(long, value_name = "TRIES")]
    pub(in crate::cli) attempts_lte: Option<u32>,

    /// Tried exactly that often
    #[arg(long, value_name = "TRIES")]
    pub(in crate::cli) attempts_eq: Option<u32>,
}

impl SelectionArgs {
    /// What was given of several values, by the API's name.
    pub(in crate::cli) fn lists(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let all = [
            ("state", &self.state),
            ("success", &self.success),
            ("integrator", &self.integrator),
            ("event_type", &self.event_type),
            ("endpoint", &self.endpoint),
        ];
        all.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name, list.as_slice()))
    }

    /// What was given of the number of tries, by the API's name.
    pub(in crate::cli) fn numbers(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = [
            ("attempts_gte", self.attempts_gte),
            ("attempts_lte", self.attempts_lte),
            ("attempts_eq", self.attempts_eq),
        ];
        all.into_iter().filter_map(|(name, number)| Some((name, number?)))
    }
}

/// Which deliveries, in which order.
#[derive(Debug, Args)]
pub(in crate::cli) struct FilterArgs {
    /// Its id (dlv_...); several with commas
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<String>,

    #[command(flatten)]
    of: SelectionArgs,

    /// Created then or later: a day or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    created_from: Option<String>,

    /// Created then or earlier; a day counts to its end
    #[arg(long, value_name = "WHEN")]
    created_to: Option<String>,

    /// Integrated then or later
    #[arg(long, value_name = "WHEN")]
    integrated_from: Option<String>,

    /// Integrated then or earlier
    #[arg(long, value_name = "WHEN")]
    integrated_to: Option<String>,

    /// Words to be found in whatever a row shows
    #[arg(long, value_name = "WORDS")]
    q: Option<String>,

    /// Columns in turn, `-` for the largest first: integrator,-attempts
    #[arg(long, value_name = "COLUMNS", allow_hyphen_values = true)]
    sort: Option<String>,

    /// Zone in which days are meant
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
}

impl FilterArgs {
    /// As the API takes it; sorted by `usual` where no order is asked for.
    pub(super) fn query(&self, usual: &str) -> Vec<(&'static str, String)> {
        let texts = [
            ("created_from", &self.created_from),
            ("created_to", &self.created_to),
            ("integrated_from", &self.integrated_from),
            ("integrated_to", &self.integrated_to),
            ("q", &self.q),
            ("timezone", &self.timezone),
        ];
        let ids = Some(("ids", self.id.as_slice())).filter(|(_, ids)| !ids.is_empty());
        let mut query: Vec<_> =
            ids.into_iter().chain(self.of.lists()).map(|(name, list)| (name, list.join(","))).collect();
        query.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))));
        query.extend(self.of.numbers().map(|(name, number)| (name, number.to_string())));
        query.push(("sort", self.sort.clone().unwrap_or_else(|| usual.to_owned())));
        query
    }
}
