use std::path::Path;

use crate::{code, pages, root, text};

/// A test's name is a sentence.
fn is_sentence(code: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    code.bytes().all(plain) && code.matches('_').count() >= 3 && !code.starts_with("fleetlog_")
}

fn is_rust_file(code: &str) -> bool {
    Path::new(code)
        .extension()
        .is_some_and(|extension| extension == "rs")
        && !code.contains(' ')
}

/// Where a page's short name of a file lies: tests may be named without their folder.
fn file(code: &str) -> String {
    if code.contains('/') {
        code.to_owned()
    } else {
        format!("tests/it/{code}")
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let mut n_named = 0;
    for page in ["README.md", "ARCHITECTURE.md"] {
        let page_text = text(page);
        for found in code(&page_text) {
            let mut of_file: Option<String> = None;
            for (_, code) in found {
                if is_rust_file(code) {
                    of_file = Some(file(code));
                } else if is_sentence(code) {
                    let file = of_file
                        .as_deref()
                        .unwrap_or_else(|| panic!("{page}: {code} is in no file"));
                    let held = text(file);
                    assert!(
                        held.contains(&format!("fn {code}(")),
                        "{page}: {file} has no test {code}"
                    );
                    n_named += 1;
                }
            }
        }
    }
    assert!(n_named > 30, "{n_named} tests are named");
}

#[test]
fn every_function_is_in_the_file_where_it_is_said_to_be() {
    let page = text("ARCHITECTURE.md");
    let mut n_named = 0;
    for found in code(&page) {
        for pair in found.windows(2) {
            let &[(_, name), (between, file)] = pair else {
                continue;
            };
            let is_place = between.trim() == "in" && is_rust_file(file);
            if !is_place {
                continue;
            }
            let item = name.rsplit("::").next().unwrap_or(name);
            let held = text(file);
            let kinds = ["fn", "struct", "enum", "trait", "const", "type"];
            let defines = |kind: &&str| {
                [" ", "(", "<", ":", "{", ";"]
                    .iter()
                    .any(|after| held.contains(&format!("{kind} {item}{after}")))
            };
            assert!(kinds.iter().any(defines), "{file} does not define {name}");
            n_named += 1;
        }
    }
    assert!(n_named > 15, "{n_named} functions are named");
}

#[test]
fn every_file_that_is_named_exists() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let page_text = text(page);
        let named = code(&page_text).flatten().map(|(_, code)| code);
        let files = named.filter(|code| {
            let has_extension = Path::new(code).extension().is_some();
            let is_ours = !code.contains([' ', '*', '{', '$', ':']) && !code.starts_with(['/', '.']);
            is_ours && code.contains('/') && (has_extension || code.ends_with('/'))
        });
        for file in files {
            assert!(root().join(file).exists(), "{page}: there is no {file}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let folder = root().join(&page);
        let folder = folder.parent().expect("a file lies in a folder");
        let page_text = text(&page);
        let links = page_text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                root().join(&page)
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{page}: {link} leads nowhere");
            if !anchor.is_empty() {
                let target_text = std::fs::read_to_string(&target).expect("a page");
                let headings = target_text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(anchor_of);
                assert!(
                    anchors.any(|held| held == anchor),
                    "{page}: {link} leads to no heading"
                );
            }
        }
    }
}

/// The anchor of a heading, as forges make it.
pub(crate) fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
