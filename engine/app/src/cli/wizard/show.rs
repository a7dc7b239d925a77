//! How a step went, for people.

use serde_json::Value;

use super::{Step, Wizard, ask::about};
use crate::cli::{
    failure::Failure,
    present::{Field, Screen, Tone, plain, plain_lines, short_time},
};

/// All wizards.
pub(super) fn list(wizards: &[Wizard], screen: Screen) -> Result<(), Failure> {
    let rows = wizards.iter().map(|wizard| {
        let done = wizard.steps.iter().filter(|step| step.status == "done").count();
        let of = format!("{done} of {}", wizard.steps.len());
        vec![
            Field::new(&wizard.id),
            Field::new(&wizard.state),
            Field::new(of),
            Field::new(short_time(&wizard.updated_at)),
        ]
    });
    let nothing = "No wizard yet; `engate wizard carol` begins one.";
    screen.table(&["ID", "STEP", "DONE", "CHANGED (UTC)"], rows.collect(), nothing)
}

/// One wizard: every step, and what those found that were gone through.
pub(super) fn whole(wizard: &Wizard, screen: Screen) -> Result<(), Failure> {
    screen.facts(&[
        ("id", Field::new(&wizard.id)),
        ("at the step", Field::new(&wizard.state)),
        ("changed (UTC)", Field::new(short_time(&wizard.updated_at))),
    ])?;
    for one in &wizard.steps {
        screen.heading(&format!("{}: {}", one.key, about(&one.key)))?;
        // What a step found names how it went; one without findings says only that.
        if one.found.is_some() { step(one, screen)? } else { screen.line(plain(&one.status))? }
    }
    Ok(())
}

/// What a step found.
pub(super) fn step(step: &Step, screen: Screen) -> Result<(), Failure> {
    let found = step.found.as_ref().unwrap_or(&Value::Null);
    let items = |name: &str| found.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    match step.key.as_str() {
        "requirements" => requirements(&items("items"), screen),
        "preflight" => preflight(&items("items"), screen),
        "entities" => {
            let rows = items("entities").iter().map(|row| fields(row, &["entity", "table", "target"])).collect();
            screen.table(&["ENTITY", "TABLE", "TARGET"], rows, "No table can be carried.")?;
            for table in items("refused") {
                let line = format!("{} is not carried: {}", text(&table, "table"), text(&table, "reason"));
                screen.line(screen.paint(&line, Tone::Bad))?;
            }
            Ok(())
        }
        "jobs" => {
            let rows = items("items").iter().map(|row| fields(row, &["name", "id"])).collect();
            screen.table(&["JOB", "ID"], rows, "No job.")
        }
        "provisioning" => {
            screen.line(format!("{}: {}", plain(&step.status), text(found, "state")))?;
            match text(found, "reason").as_str() {
                "" => Ok(()),
                reason => screen.line(reason),
            }
        }
        _ => screen.line(plain(&step.status)),
    }
}

fn requirements(rows: &[Value], screen: Screen) -> Result<(), Failure> {
    let table = rows.iter().map(|row| {
        let ok = is(row, "ok");
        let mut cells = fields(row, &["key", "have", "need"]);
        cells.push(mark(ok));
        cells
    });
    screen.table(&["REQUIREMENT", "HAVE", "NEED", ""], table.collect(), "No requirement.")?;
    for row in rows.iter().filter(|row| !is(row, "ok")) {
        screen.line(format!("{}: {}", text(row, "key"), text(row, "cure")))?;
        if let Some(ddl) = row.get("ddl").and_then(Value::as_str) {
            screen.line(plain_lines(ddl))?;
        }
    }
    Ok(())
}

fn preflight(rows: &[Value], screen: Screen) -> Result<(), Failure> {
    let table = rows.iter().map(|row| {
        let mut cells = fields(row, &["service", "url"]);
        for part in ["dns", "tcp", "tls", "http"] {
            let state = text(row, part);
            let tone = if state == "failed" { Tone::Bad } else { Tone::Good };
            cells.push(Field::new(state).tone(tone));
        }
        cells
    });
    screen.table(&["SERVICE", "URL", "DNS", "TCP", "TLS", "HTTP"], table.collect(), "No service.")?;
    for row in rows.iter().filter(|row| row.get("message").is_some_and(Value::is_string)) {
        screen.line(format!("{}: {} ({})", text(row, "service"), text(row, "message"), text(row, "code")))?;
    }
    Ok(())
}

fn fields(row: &Value, names: &[&str]) -> Vec<Field> {
    names.iter().map(|name| Field::new(text(row, name))).collect()
}

fn text(row: &Value, name: &str) -> String {
    plain(row.get(name).and_then(Value::as_str).unwrap_or_default())
}

fn is(row: &Value, name: &str) -> bool {
    row.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn mark(ok: bool) -> Field {
    if ok { Field::new("ok").tone(Tone::Good) } else { Field::new("missing").tone(Tone::Bad) }
}
