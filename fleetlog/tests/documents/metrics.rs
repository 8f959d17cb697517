use std::{collections::BTreeSet, fs};

use crate::{code, pages, root, rust_files, text};

/// Where each room declares what it measures, in the order of the table.
const DECLARED_IN: [&str; 6] = [
    "ingest/src/metrics.rs",
    "control/src/metrics.rs",
    "projector/src/metrics.rs",
    "stream/src/metrics.rs",
    "service/src/metrics.rs",
    "fleetlog/src/audit_rows/metrics.rs",
];

const PAGE: &str = "docs/metrics.md";
const BEGIN: &str =
    "<!-- From the code: FLEETLOG_UPDATE_DOCS=1 cargo test -p fleetlog --test documents -->\n\n";
const END: &str = "\n<!-- End of what is from the code. -->\n";

/// A metric as its declaration explains it.
struct Metric {
    name: String,
    kind: String,
    labels: String,
    meaning: String,
}

impl Metric {
    /// Takes a doc comment apart: the kind, perhaps the unit, the labels in a sentence of their own, the meaning.
    fn new(name: String, doc: &str) -> Self {
        let (kind, rest) = doc.split_once([',', '.', ':', ' ']).expect("more than a word");
        assert!(
            ["Counter", "Gauge", "Histogram"].contains(&kind),
            "{name} begins with its kind: {doc}"
        );
        let (before, labels, after) = match rest.find("Label") {
            Some(begin) => {
                let (before, rest) = rest.split_at(begin);
                let rest = rest.trim_start_matches("Labels").trim_start_matches("Label");
                let (labels, after) = rest.split_once(". ").unwrap_or((rest, ""));
                (
                    before,
                    labels.trim_start_matches(':').trim_end_matches('.').trim(),
                    after,
                )
            }
            None => (rest, "", ""),
        };
        let meaning = format!("{} {after}", before.trim());
        // The name says the unit.
        let meaning = meaning.trim().trim_start_matches("in seconds.").trim_start();
        let meaning = meaning.trim_end_matches('.');
        let mut letters = meaning.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        Self {
            name,
            kind: kind.to_lowercase(),
            labels: labels.to_owned(),
            meaning: first.into_iter().chain(letters).collect(),
        }
    }
}

/// What a file declares: constants, or the variants of an enum whose names in snake case are the metrics'.
fn declared(file: &str) -> Vec<Metric> {
    let text = text(file);
    let mut metrics = Vec::new();
    let mut doc = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("/// ") {
            doc.push_str(more);
            doc.push(' ');
            continue;
        }
        let constant = line
            .split_once(": &str = \"")
            .map(|(_, rest)| rest.trim_end_matches("\";").to_owned());
        let variant = line
            .strip_suffix(',')
            .filter(|name| name.starts_with("Fleetlog"))
            .map(snake_case);
        if let Some(name) = constant.or(variant).filter(|_| !doc.is_empty()) {
            metrics.push(Metric::new(name, doc.trim()));
        }
        doc.clear();
    }
    assert!(!metrics.is_empty(), "{file} declares nothing");
    metrics
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn table() -> String {
    let rows = DECLARED_IN.iter().flat_map(|file| declared(file)).map(
        |Metric {
             name,
             kind,
             labels,
             meaning,
         }| format!("| `{name}` | {kind} | {labels} | {meaning} |\n"),
    );
    let head = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    std::iter::once(head).chain(rows).collect()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let page = text(PAGE);
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the table");
    let (held, after) = rest.split_once(END).expect("the table ends");
    let table = table();
    if held == table {
        return;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for whoever runs this test, not configuration of the product"
    )]
    let update = std::env::var("FLEETLOG_UPDATE_DOCS").is_ok();
    assert!(
        update,
        "docs/metrics.md is not what the code says; `FLEETLOG_UPDATE_DOCS=1 cargo test -p fleetlog --test documents` \
         brings it up to date"
    );
    let page = format!("{before}{BEGIN}{table}{END}{after}");
    fs::write(root().join(PAGE), page).expect("the source tree can be written");
}

#[test]
fn every_metric_has_a_name_of_its_own_that_says_its_kind() {
    let mut names = BTreeSet::new();
    for Metric { name, kind, .. } in DECLARED_IN.iter().flat_map(|file| declared(file)) {
        assert!(name.starts_with("fleetlog_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(names.insert(name.clone()), "{name} is declared twice");
    }
}

#[test]
fn no_metric_is_named_outside_its_declaration() {
    for room in ["service", "stream", "control", "ingest", "projector", "fleetlog"] {
        for file in rust_files(&root().join(room).join("src")) {
            let text = fs::read_to_string(&file).expect("a source file");
            for macro_call in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
                let mut literals = text.split(macro_call).skip(1);
                let stray = literals.find(|rest| !rest.starts_with("fleetlog_test_"));
                assert!(stray.is_none(), "{} names a metric in place", file.display());
            }
        }
    }
}

/// The names of all metrics.
pub(crate) fn all() -> BTreeSet<String> {
    DECLARED_IN
        .iter()
        .flat_map(|file| declared(file))
        .map(|one| one.name)
        .collect()
}

#[test]
fn every_metric_that_a_page_names_exists() {
    let names = all();
    let roles = [
        "fleetlog_operator",
        "fleetlog_api",
        "fleetlog_projector",
        "fleetlog_ingest",
    ];
    for page in pages() {
        let page_text = text(&page);
        let mentioned = code(&page_text).flatten().map(|(_, code)| code);
        for code in mentioned.filter(|code| code.starts_with("fleetlog_")) {
            let name = code.split(['{', ' ', '[', ')']).next().unwrap_or(code);
            let of_histogram = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            assert!(
                names.contains(of_histogram) || roles.contains(&name),
                "{page}: there is no {name}"
            );
        }
    }
}
