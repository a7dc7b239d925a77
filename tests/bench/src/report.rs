//! Medians, a table for people, JSON for programs.

use comfy_table::Table;
use serde::Serialize;

use crate::Error;

/// One bench over its runs.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Name as in the README.
    pub(crate) name: String,
    /// What the numbers are.
    pub(crate) unit: &'static str,
    /// Every run in order.
    pub(crate) runs: Vec<f64>,
    /// Processor time of the engine under test per delivery in every run, in microseconds, where there is one.
    pub(crate) engine_cpu_us: Vec<f64>,
    /// What was kept how, where anything was.
    pub(crate) durability: Option<String>,
}

impl Figure {
    /// No runs yet.
    pub(crate) fn new(name: &str, unit: &'static str) -> Self {
        Self { name: name.to_owned(), unit, runs: Vec::new(), engine_cpu_us: Vec::new(), durability: None }
    }

    /// The middle run.
    pub(crate) fn median(&self) -> f64 {
        median(&self.runs).unwrap_or_default()
    }
}

/// The middle one.
pub(crate) fn median(runs: &[f64]) -> Option<f64> {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    runs.get(runs.len() / 2).copied()
}

/// A quotient of two medians.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    /// Numerator and denominator.
    pub(crate) name: String,
    /// The quotient.
    pub(crate) value: f64,
}

/// Prints figures and ratios, with the machine named.
pub(crate) fn print(figures: &[Figure], ratios: &[Ratio], json: bool) -> Result<(), Error> {
    let machine = machine();
    if json {
        let medians: Vec<_> = figures.iter().map(|f| serde_json::json!({"name": f.name, "median": f.median(), "unit": f.unit, "runs": f.runs, "engine_cpu_us": f.engine_cpu_us, "durability": f.durability})).collect();
        println!(
            "{}",
            serde_json::to_string_pretty(
                &serde_json::json!({"machine": machine, "figures": medians, "ratios": ratios})
            )?
        );
        return Ok(());
    }
    println!("machine: {machine}");
    let mut table = Table::new();
    table.set_header(["bench", "median", "least", "most", "unit", "engine CPU us", "durability"]);
    for figure in figures {
        let least = figure.runs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figure.runs.iter().copied().fold(0.0, f64::max);
        let number = |value: f64| format!("{value:.1}");
        table.add_row([
            figure.name.clone(),
            number(figure.median()),
            number(least),
            number(most),
            figure.unit.to_owned(),
            median(&figure.engine_cpu_us).map(number).unwrap_or_default(),
            figure.durability.clone().unwrap_or_default(),
        ]);
    }
    println!("{table}");
    for ratio in ratios {
        println!("{}: {:.2}", ratio.name, ratio.value);
    }
    Ok(())
}

/// What the figures were measured on.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |name| name.trim_start_matches(['\t', ' ', ':']));
    format!("{cpus} cores, {model}, {}", if cfg!(debug_assertions) { "dev profile" } else { "optimised" })
}
