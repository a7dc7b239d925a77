use engate_sdk::testing::{self, Host};
use engate_sdk::{Event, Problem};
use serde_json::{Value, json};

use super::{body, order};
use crate::Standard;

fn slack(template: &str, event: &Event) -> Value {
    body(json!({"format": "slack", "text": template}), event)["text"].clone()
}

fn refusal(config: Value, event: &Event) -> Problem {
    Host::new().config(config).transform::<Standard>(event, &testing::context()).unwrap_err()
}

#[test]
fn places_are_filled_from_the_payload() {
    for (template, text) in [
        ("Order {{/order/id}}: {{/order/total}}", "Order A-7: 10"),
        ("{{/order/a~1b}} {{/order/a~1b/1/~0}} {{/order/a~1b/0}}", r#"[1,{"~":true}] true 1"#),
        ("a{{/order/note}}b{{/order/missing}}c{{/order/a~1b/7}}d{{/order/id/x}}e", "abcde"),
        ("{{type}} {{id}} {{time}}", "order.paid evt_sample 2025-02-20T12:00:00.000Z"),
        ("{ {{title}} }} {{", "{ order.paid }} {{"),
    ] {
        assert_eq!(slack(template, &order()), text, "{template}");
    }
    let spelled = testing::event("x").with_text(r#"{"total": 10.50, "all": {"b": 1.0}}"#);
    assert_eq!(
        slack("{{/total}} {{/all}} {{payload}}", &spelled),
        r#"10.50 {"b": 1.0} {"total": 10.50, "all": {"b": 1.0}}"#
    );
}

#[test]
fn the_catalogue_names_the_event_where_no_template_does() {
    let mut event = order().with_label("event-type.title", "Order paid");
    assert_eq!(body(json!({"format": "slack"}), &event)["text"], "*Order paid*");
    event.subject = Some("A-7".to_owned());
    assert_eq!(body(json!({"format": "slack"}), &event)["text"], "*Order paid* A-7");
    let card = body(json!({"format": "teams"}), &event)["attachments"][0]["content"].clone();
    assert_eq!((&card["body"][0]["text"], &card["body"][1]["text"]), (&json!("Order paid"), &json!("A-7")));
}

#[test]
fn values_cannot_speak_slack_s_markup_but_the_template_can() {
    assert_eq!(slack("<!here> {{/<who>}}", &order()), "<!here> &lt;!channel&gt; &amp; co");
    let card = body(json!({"format": "teams", "text": "{{/<who>}}"}), &order())["attachments"][0]["content"].clone();
    assert_eq!(card["body"][1]["text"], "<!channel> & co");
}

#[test]
fn a_message_that_says_nothing_is_refused() {
    for config in [
        json!({"format": "slack", "text": " {{/missing}} "}),
        json!({"format": "teams", "title": "{{subject}}", "text": "{{/missing}}"}),
    ] {
        let problem = refusal(config, &order());
        assert_eq!((problem.code.as_str(), problem.retryable), ("empty_message", false));
    }
}

#[test]
fn a_payload_that_is_no_json_still_has_its_text() {
    let event = testing::event("note").with_text("plain words");
    assert_eq!(slack("{{payload}}{{/a}}", &event), "plain words");
}

#[test]
fn long_messages_are_cut() {
    let event = testing::event("note").with_text(&"é".repeat(20_000));
    let text = slack("{{payload}}", &event);
    assert_eq!(text.as_str().unwrap().chars().count(), 10_001);
    assert!(text.as_str().unwrap().ends_with('…'));
}

#[test]
fn a_teams_message_is_one_adaptive_card() {
    let message = body(json!({"format": "teams", "title": "Paid", "text": "{{/order/id}}"}), &order());
    let expected = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [
                    {"type": "TextBlock", "text": "Paid", "size": "Medium", "weight": "Bolder", "wrap": true},
                    {"type": "TextBlock", "text": "A-7", "wrap": true},
                ],
            },
        }],
    });
    assert_eq!(message, expected);
}
