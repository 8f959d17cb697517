//! What the documents say of files, tests, rooms, variables and metrics is so.

mod configuration;
mod metrics;
mod promises;
mod rooms;
mod watching;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the checkout")
}

/// A file's text, by its path from the root.
fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages that people read, by their paths from the root.
fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).expect("the folder is checked in");
    let docs = docs.map(|entry| entry.expect("a readable folder").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut pages: Vec<_> = docs
        .chain(
            [
                "README.md",
                "ARCHITECTURE.md",
                "CONTRIBUTING.md",
                "CHANGELOG.md",
                "migrations/README.md",
            ]
            .map(|page| root().join(page)),
        )
        .map(|path| {
            let path = path.strip_prefix(root()).expect("found below the root");
            path.to_str().expect("plain names").to_owned()
        })
        .collect();
    pages.sort();
    pages
}

/// What stands between backticks, paragraph by paragraph, and what stands before each.
fn code(text: &str) -> impl Iterator<Item = Vec<(&str, &str)>> {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.contains("```"));
    // A row of a table is a paragraph of its own.
    let parts = paragraphs.flat_map(|paragraph| {
        if paragraph.trim_start().starts_with('|') {
            paragraph.lines().collect()
        } else {
            vec![paragraph]
        }
    });
    parts.map(|part| {
        let mut pieces = part.split('`');
        let mut found = Vec::new();
        while let (Some(before), Some(code)) = (pieces.next(), pieces.next()) {
            found.push((before, code));
        }
        found
    })
}

/// All Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the checkout") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
