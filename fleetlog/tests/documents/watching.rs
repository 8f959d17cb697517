//! What the dashboard and the alert rules ask for is measured, and every alert says what to do.

use std::collections::BTreeSet;

use crate::{metrics, promises::anchor_of, text};

const ALERTS: &str = "docs/alerts.yml";
const DASHBOARD: &str = "docs/grafana/fleetlog.json";

/// Words of an expression that are names of metrics of ours.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("fleetlog_"))
}

fn assert_measured(place: &str, expression: &str, measured: &BTreeSet<String>) {
    for name in names(expression) {
        let of_histogram = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        assert!(
            measured.contains(of_histogram),
            "{place} asks for {name}, which nothing measures"
        );
    }
}

#[test]
fn what_alerts_and_dashboard_ask_for_is_measured() {
    let measured = metrics::all();
    let rules = text(ALERTS);
    let expressions: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    assert!(expressions.len() > 10, "{ALERTS} has {} rules", expressions.len());
    for expression in expressions {
        assert!(
            names(expression).next().is_some(),
            "{expression} asks for nothing of ours"
        );
        assert_measured(ALERTS, expression, &measured);
    }
    let dashboard: serde_json::Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 10, "{DASHBOARD} has {} panels", panels.len());
    for panel in panels {
        let targets = panel["targets"]
            .as_array()
            .expect("every panel asks for something");
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(
                names(expression).next().is_some(),
                "{expression} asks for nothing of ours"
            );
            assert_measured(DASHBOARD, expression, &measured);
        }
    }
}

/// Whoever is woken looks at the dashboard first.
#[test]
fn what_an_alert_watches_is_on_the_dashboard() {
    let dashboard = text(DASHBOARD);
    let shown: BTreeSet<_> = names(&dashboard).collect();
    for expression in text(ALERTS)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
    {
        for name in names(expression) {
            assert!(shown.contains(name), "no panel of {DASHBOARD} shows {name}");
        }
    }
}

#[test]
fn every_alert_leads_to_what_it_means_and_what_to_do() {
    let rules = text(ALERTS);
    let n_alerts = rules.lines().filter(|line| line.contains("- alert: ")).count();
    let links: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook_url: "))
        .collect();
    assert_eq!(links.len(), n_alerts, "every alert has a runbook");
    for link in links {
        let (page, anchor) = link.split_once('#').expect("a heading");
        let page_text = text(page);
        let mut headings = page_text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(anchor_of);
        assert!(headings.any(|held| held == anchor), "{link} leads to no heading");
    }
}

#[test]
fn every_alert_is_explained_on_the_page_of_metrics() {
    let page = text("docs/metrics.md");
    let alerts = text(ALERTS);
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(
            page.contains(&format!("`{alert}`")),
            "docs/metrics.md does not name {alert}"
        );
    }
}
