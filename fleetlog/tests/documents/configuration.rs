use std::{collections::BTreeMap, process::Command};

use crate::text;

/// What `--help` of a command says, on one line.
fn help(command: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_fleetlog"))
        .args(command)
        .arg("--help")
        .env_clear()
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "fleetlog {} --help", command.join(" "));
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// The names below `Commands:` in a help text.
fn subcommands(help: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = below.take_while(|line| !line.is_empty());
    let name = |line: &str| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    };
    listed.filter_map(name).collect()
}

/// Every environment variable that some command reads, with its default where it has one.
fn variables() -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let mut commands = vec![Vec::new()];
    while let Some(command) = commands.pop() {
        let help = help(&command);
        for name in subcommands(&help) {
            commands.push([command.clone(), vec![name]].concat());
        }
        let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for rest in flat.split("[env: ").skip(1) {
            let (variable, after) = rest.split_once(']').expect("brackets close");
            let name = variable.split('=').next().unwrap_or_default().to_owned();
            let default = after
                .strip_prefix(" [default: ")
                .and_then(|rest| rest.split(']').next());
            found.insert(name, default.map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_environment_variable_is_explained_with_its_default() {
    let page = text("docs/configuration.md");
    let variables = variables();
    assert!(variables.len() > 25, "{variables:?}");
    for (name, default) in &variables {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {name}"));
        if let Some(default) = default {
            assert!(
                row.contains(&format!("`{default}`")),
                "{name} is {default} by default: {row}"
            );
        }
    }
}

#[test]
fn no_variable_is_explained_that_nothing_reads() {
    let (page, compose) = (text("docs/configuration.md"), text("docker-compose.yml"));
    let variables = variables();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named = rows.filter(|name| name.starts_with("FLEETLOG_"));
    for name in named {
        let read = variables.contains_key(name) || compose.contains(&format!("${{{name}:-"));
        assert!(read, "nothing reads {name}");
    }
}
