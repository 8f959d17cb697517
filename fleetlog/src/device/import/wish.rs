//! What a record of the file wants of a device.

use std::collections::{BTreeMap, BTreeSet};

use schema::{Field, NotEditable, RawJson, Serial};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::device::change::Wanted;

/// The column of serial numbers.
const SERIAL: &str = "serial";
/// The column of several tags.
const TAGS: &str = "tags";

/// What is wanted of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The line it begins in, from 1.
    pub(super) line: u64,
    pub(super) serial: Serial,
    pub(super) fields: Wanted,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Serial,
    /// Ids of tags to be added, separated by semicolons.
    Tags,
    Field(Field),
    /// It is to be passed over.
    Ignored(String),
}

impl Column {
    fn parse(name: &str, ignored: &BTreeSet<String>) -> Result<Self, NotEditable> {
        match name {
            _ if ignored.contains(name) => Ok(Self::Ignored(name.to_owned())),
            SERIAL => Ok(Self::Serial),
            TAGS => Ok(Self::Tags),
            _ => Field::parse(name).map(Self::Field),
        }
    }
}

/// Reads the first record: the names of the columns.
///
/// # Errors
/// A column that cannot be imported, that is there twice, or no column of serial numbers; says what to do.
pub(super) fn header(cells: &[String], ignored: &BTreeSet<String>) -> Result<Vec<Column>, String> {
    if let [only] = cells
        && let Some(separator) = only
            .chars()
            .find(|character| [';', '\t', '|'].contains(character))
    {
        return Err(format!("columns are separated by commas, not by {separator:?}"));
    }
    let mut columns = Vec::new();
    for cell in cells {
        let name = cell.trim();
        let column = Column::parse(name, ignored)
            .map_err(|error| format!("column {name:?}: {error}. To pass it over, say --ignore {name}"))?;
        if columns.contains(&column) {
            return Err(format!("column {name:?} is there twice"));
        }
        columns.push(column);
    }
    if !columns.contains(&Column::Serial) {
        return Err("the first line names the columns; one of them must be serial".to_owned());
    }
    Ok(columns)
}

/// Reads a record below such a header. An empty cell says nothing.
pub(super) fn of_cells(line: u64, columns: &[Column], cells: &[String]) -> Result<Wish, Refusal> {
    if cells.len() != columns.len() {
        let (found, wanted) = (cells.len(), columns.len());
        return Err(Refusal::new(
            line,
            format!("it has {found} columns, the header {wanted}"),
            "put quotes around a cell that holds a comma, and leave no cell out",
        ));
    }
    let cell = |wanted: &Column| {
        let mut pairs = columns.iter().zip(cells);
        pairs
            .find(|(column, _)| *column == wanted)
            .map(|(_, cell)| cell.as_str())
    };
    let serial = serial(line, cell(&Column::Serial).unwrap_or_default())?;
    let refused = |error: &NotEditable| Refusal::of_field(line, &serial, error);
    let mut fields = Wanted::new();
    for (column, cell) in columns.iter().zip(cells) {
        if cell.trim().is_empty() {
            continue;
        }
        match column {
            Column::Serial | Column::Ignored(_) => {}
            Column::Tags => {
                let ids = cell.split(';').map(str::trim).filter(|id| !id.is_empty());
                for id in ids {
                    add_tag(&mut fields, id).map_err(|error| refused(&error))?;
                }
            }
            Column::Field(field) => {
                let value = cell_value(field, cell);
                field.check(&value).map_err(|error| refused(&error))?;
                fields.insert(field.clone(), value);
            }
        }
    }
    Ok(Wish { line, serial, fields })
}

/// A cell as JSON: a text where the field holds texts.
fn cell_value(field: &Field, cell: &str) -> RawJson {
    let text = || RawJson::from_value(&json!(cell));
    match field {
        Field::Name | Field::Notes | Field::Blueprint => text(),
        Field::Location | Field::Metadata => {
            let object = cell.trim().starts_with('{');
            RawJson::parse(cell).ok().filter(|_| object).unwrap_or_else(text)
        }
        // Spreadsheets write TRUE.
        Field::Enabled | Field::Tag(_) => match cell.trim().to_ascii_lowercase().as_str() {
            "true" => RawJson::from_value(&Value::Bool(true)),
            "false" => RawJson::from_value(&Value::Bool(false)),
            _ => text(),
        },
    }
}

/// Reads a line that is one JSON object. `null` takes a field's value away.
pub(super) fn of_json(line: u64, text: &str, ignored: &BTreeSet<String>) -> Result<Wish, Refusal> {
    let object: BTreeMap<String, RawJson> = serde_json::from_str(text).map_err(|error| {
        Refusal::new(
            line,
            format!("it is no JSON object: {}", without_line(&error)),
            "write one object a line, e.g. {\"serial\": \"C252400001\", \"name\": \"North gate\"}",
        )
    })?;
    let serial = match object.get(SERIAL).map(RawJson::value) {
        None => return Err(no_serial(line, "it has no serial".to_owned())),
        Some(Ok(Value::String(text))) => serial(line, &text)?,
        Some(Ok(_) | Err(_)) => {
            let found = object.get(SERIAL).map_or("", RawJson::get);
            return Err(no_serial(line, format!("serial is a text; got {found}")));
        }
    };
    let refused = |error: &NotEditable| Refusal::of_field(line, &serial, error);
    let mut fields = Wanted::new();
    for (name, value) in &object {
        match Column::parse(name, ignored).map_err(|error| refused(&error))? {
            Column::Serial | Column::Ignored(_) => {}
            Column::Tags => {
                let ids = tag_ids(value).ok_or_else(|| {
                    Refusal::new(
                        line,
                        "tags is a list of ids".to_owned(),
                        "write \"tags\": [\"id\", …]; to remove a tag write \"tag:id\": false",
                    )
                    .of(&serial)
                })?;
                for id in &ids {
                    add_tag(&mut fields, id).map_err(|error| refused(&error))?;
                }
            }
            Column::Field(field) => {
                field.check(value).map_err(|error| refused(&error))?;
                fields.insert(field, value.clone());
            }
        }
    }
    Ok(Wish { line, serial, fields })
}

/// The ids of a list of tags: texts, or objects as fleet.devices shows them.
fn tag_ids(value: &RawJson) -> Option<Vec<String>> {
    let Ok(Value::Array(tags)) = value.value() else {
        return None;
    };
    let id = |tag: &Value| {
        tag.as_str()
            .or_else(|| tag.get("id")?.as_str())
            .map(str::to_owned)
    };
    tags.iter().map(id).collect()
}

/// Adds a tag, unless its own column says something of it.
fn add_tag(fields: &mut Wanted, id: &str) -> Result<(), NotEditable> {
    let field = Field::parse(&format!("tag:{id}"))?;
    fields
        .entry(field)
        .or_insert_with(|| RawJson::from_value(&Value::Bool(true)));
    Ok(())
}

fn serial(line: u64, text: &str) -> Result<Serial, Refusal> {
    Serial::new(text).map_err(|error| no_serial(line, error.to_string()))
}

fn no_serial(line: u64, reason: String) -> Refusal {
    let advice = "give every device its serial number, as the cloud names it";
    Refusal::new(line, reason, advice)
}

/// What is wrong with a line of JSON, which to its reader was a file of one line.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let at = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&at) {
        Some(text) if error.column() > 0 => format!("{text} at column {}", error.column()),
        Some(text) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Result<Vec<Column>, String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        header(&names, &BTreeSet::from(["battery".to_owned()]))
    }

    fn wish(names: &[&str], cells: &[&str]) -> Result<BTreeMap<String, String>, Refusal> {
        let cells: Vec<_> = cells.iter().map(|&cell| cell.to_owned()).collect();
        of_cells(2, &columns(names).unwrap(), &cells).map(|wish| written(&wish))
    }

    fn written(wish: &Wish) -> BTreeMap<String, String> {
        let fields = wish.fields.iter();
        fields
            .map(|(field, value)| (field.to_string(), value.get().to_owned()))
            .collect()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn cells_are_texts_where_the_field_holds_texts_and_else_json() {
        let names = [
            "serial", "name", "metadata", "enabled", "location", "tags", "battery", "notes",
        ];
        let cells = ["S", "42", r#"{"a": 1}"#, "TRUE", "hall 3", "blue; red", "12", ""];
        let expected = map(&[
            ("name", r#""42""#),
            ("metadata", r#"{"a": 1}"#),
            ("enabled", "true"),
            ("location", r#""hall 3""#),
            ("tag:blue", "true"),
            ("tag:red", "true"),
        ]);
        assert_eq!(wish(&names, &cells).unwrap(), expected);
    }

    #[test]
    fn a_record_that_cannot_be_meant_is_refused_with_what_to_do() {
        let refused = wish(&["serial", "enabled"], &["S", "perhaps"]).unwrap_err();
        assert_eq!((refused.line, refused.serial.as_deref()), (2, Some("S")));
        assert!(refused.reason.contains("true or false"), "{refused:?}");
        assert!(
            wish(&["serial", "name"], &["S"])
                .unwrap_err()
                .reason
                .contains("1 columns")
        );
        assert!(
            wish(&["serial"], &["  "])
                .unwrap_err()
                .reason
                .contains("serial number")
        );
        assert!(wish(&["serial", "metadata"], &["S", "[1]"]).is_err());
    }

    #[test]
    fn a_header_that_cannot_be_imported_says_who_owns_the_column() {
        assert!(columns(&["serial", "cohort"]).unwrap_err().contains("the cloud"));
        assert!(
            columns(&["serial", "cohort"])
                .unwrap_err()
                .contains("--ignore cohort")
        );
        assert!(columns(&["name"]).unwrap_err().contains("serial"));
        assert!(columns(&["serial;name"]).unwrap_err().contains("commas"));
        assert!(
            columns(&["serial", "name", "name"])
                .unwrap_err()
                .contains("twice")
        );
    }

    #[test]
    fn a_json_line_may_take_values_away() {
        let text =
            r#"{"serial":" S-1 ","notes":null,"tags":["a",{"id":"b","name":"B"}],"tag:a":false,"battery":3}"#;
        let wish = of_json(7, text, &BTreeSet::from(["battery".to_owned()])).unwrap();
        assert_eq!((wish.line, wish.serial.as_str()), (7, "S-1"));
        let expected = map(&[("notes", "null"), ("tag:a", "false"), ("tag:b", "true")]);
        assert_eq!(written(&wish), expected);
        for wrong in [
            "[1]",
            "{\"name\":\"x\"}",
            "{\"serial\":\"S\",\"colour\":1}",
            "{\"serial\":\"S\",\"tags\":1}",
            "{",
        ] {
            assert!(of_json(1, wrong, &BTreeSet::new()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_json_line_that_is_refused_is_told_as_it_is() {
        let reason = |text| of_json(7, text, &BTreeSet::new()).unwrap_err().reason;
        assert_eq!(reason(r#"{"serial":5}"#), "serial is a text; got 5");
        assert_eq!(reason(r#"{"name":"x"}"#), "it has no serial");
        let broken = reason("{bad");
        assert!(broken.ends_with("at column 2"), "{broken}");
        assert!(!reason("[]").contains("line 1"), "{}", reason("[]"));
    }
}
