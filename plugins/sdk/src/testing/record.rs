//! Writing a golden file anew: only what the plugin answered changes, the rest stays as it was typed.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;

use super::spec::{AnswerSpec, PlanSpec, VerdictSpec};

const PLAN: &str = "plan";
const EXCHANGES: &str = "exchanges";
const VERDICT: &str = "verdict";
const ANSWER: &str = "answer";

/// The members of a JSON object in the file's order, each as it was typed.
pub(super) struct Members(Vec<(String, String)>);

impl Members {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str())
    }

    /// A new member goes before `next`, or else to the end.
    pub(super) fn set(&mut self, name: &str, text: String, next: Option<&str>) {
        if let Some((_, old)) = self.0.iter_mut().find(|(other, _)| other == name) {
            *old = text;
            return;
        }
        let place = self.0.iter().position(|(other, _)| Some(other.as_str()) == next);
        self.0.insert(place.unwrap_or(self.0.len()), (name.to_owned(), text));
    }

    /// One member a line, at that depth.
    pub(super) fn print(&self, depth: usize) -> String {
        let indent = "  ".repeat(depth + 1);
        let lines: Vec<String> =
            self.0.iter().map(|(name, text)| format!("{indent}{}: {text}", serde_json::json!(name))).collect();
        format!("{{\n{}\n{}}}", lines.join(",\n"), "  ".repeat(depth))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((name, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The file's text with this plan, these verdicts, one for each exchange, and this answer.
pub(super) fn with_actual(
    text: &str,
    plan: Option<&PlanSpec>,
    verdicts: &[VerdictSpec],
    answer: Option<&AnswerSpec>,
) -> Result<String, String> {
    let mut file = Members::parse(text)?;
    if let Some(plan) = plan {
        file.set(PLAN, pretty(plan, 1)?, Some(EXCHANGES));
    }
    if let Some(exchanges) = file.get(EXCHANGES) {
        let exchanges: Vec<Members> = serde_json::from_str(exchanges).map_err(|error| error.to_string())?;
        let mut items = Vec::new();
        for (mut exchange, verdict) in exchanges.into_iter().zip(verdicts) {
            exchange.set(VERDICT, one_line(verdict)?, None);
            items.push(format!("    {}", exchange.print(2)));
        }
        file.set(EXCHANGES, format!("[\n{}\n  ]", items.join(",\n")), None);
    }
    if let Some(answer) = answer {
        file.set(ANSWER, pretty(answer, 1)?, None);
    }
    Ok(file.print(0) + "\n")
}

/// Bodies stay on one line, because they are raw.
pub(super) fn pretty(value: &impl Serialize, depth: usize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(text.replace('\n', &format!("\n{}", "  ".repeat(depth))))
}

pub(super) fn one_line(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{Answers, Fixture};
    use crate::{
        Answer, Call, Context, Event, Exchange, Integrator, Manifest, NewEvent, Plan, Problem, Receiver, Request,
        Verdict,
    };

    struct Echo;

    impl Integrator for Echo {
        fn describe() -> Manifest {
            Manifest::new("echo", "1.0.0")
        }

        fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
            let body = event.text().unwrap_or_default();
            Ok(Request::post(&context.endpoint.url).body("application/json", body).into())
        }

        fn interpret(_: &Exchange) -> Verdict {
            Verdict::success_as("42")
        }
    }

    const UNTOLD: &str = r#"{
  "event": {"payload": { "value": 10.50 }},
  "exchanges": [{"response": {"status": 500}}]
}"#;

    #[test]
    fn what_is_recorded_then_passes_and_keeps_what_was_typed() {
        let untold = Fixture::parse(UNTOLD).unwrap();
        assert_eq!(untold.check::<Echo>().unwrap().len(), 2);
        let actual = PlanSpec::of(Ok(Request::post("https://partner.example/webhook")
            .body("application/json", r#"{"value":10.50}"#)
            .into()));
        let verdict = VerdictSpec::of(Verdict::success_as("42"));
        let text = with_actual(UNTOLD, Some(&actual.unwrap()), &[verdict], None).unwrap();
        assert!(text.contains(r#""event": {"payload": { "value": 10.50 }}"#), "{text}");
        assert!(text.contains(r#""body": {"value":10.50}"#), "{text}");
        assert_eq!(Fixture::parse(&text).unwrap().check::<Echo>().unwrap(), Vec::<String>::new());
    }

    struct Desk;

    impl Receiver for Desk {
        fn describe() -> Manifest {
            Manifest::new("desk", "1.0.0")
        }

        fn receive(call: &Call) -> Result<Answer, Problem> {
            let body = call.text().unwrap_or_default();
            let event = NewEvent::new("paid", "application/json", body).idempotency_key("1").occurred_at(call.now);
            Ok(Answer::status(200).body("text/plain", "taken").event(event))
        }
    }

    const CALL: &str = r#"{
  "call": {"body": { "value": 10.50 }, "now": "2025-02-20T12:00:00Z"}
}"#;

    #[test]
    fn an_answer_to_a_call_is_recorded_with_its_events_and_then_passes() {
        let call = Fixture::parse(CALL).unwrap().call().unwrap().unwrap();
        let answers = |call| Answers { answer: Some(Desk::receive(call)), ..Answers::default() };
        assert_eq!(Fixture::parse(CALL).unwrap().differences(answers(&call)).unwrap().len(), 2);
        let text = Fixture::recorded(CALL, answers(&call)).unwrap();
        assert!(text.contains(r#""payload": {"value":10.50}"#) && text.contains("2025-02-20T12:00:00"), "{text}");
        assert!(text.contains(r#"{ "value": 10.50 }"#), "what was typed stays: {text}");
        let fixture = Fixture::parse(&text).unwrap();
        assert_eq!(fixture.differences(answers(&call)).unwrap(), []);
        let other = fixture.differences(Answers { answer: Some(Err(Problem::new("a", "b"))), ..Answers::default() });
        assert_eq!(other.unwrap()[0].place, "answer");
        let alone = Fixture::parse(r#"{"answer": {"send": {"status": 200}}}"#).unwrap();
        assert!(alone.call().unwrap_err().contains("no call"));
    }

    #[test]
    fn a_file_that_differs_is_told_so() {
        let text = UNTOLD.replace("\"exchanges\"", r#""plan": {"skip": "no"}, "exchanges""#);
        let faults = Fixture::parse(&text).unwrap().check::<Echo>().unwrap();
        assert!(faults[0].starts_with("plan\n  expected: {\n  \"skip\": \"no\""), "{}", faults[0]);
        assert!(Fixture::parse(r#"{"evnt": {}}"#).unwrap_err().contains("evnt"));
    }
}
