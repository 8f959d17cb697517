//! How rows of equal keys become one: the join of each truth table, as one statement over all doubled keys.
//!
//! The same joins as in [`fold::rows`](crate::fold::rows) and in the statements of `sql`.

/// Columns that are taken together from one of the copies, and which copy that is.
struct Taken {
    columns: &'static [&'static str],
    /// Sorts the copies: the first one counts.
    order: &'static str,
}

/// How rows of one table that have equal keys become one.
struct Merge {
    table: &'static str,
    key: &'static [&'static str],
    /// What is equal in all copies.
    same: &'static [&'static str],
    taken: &'static [Taken],
    /// The least of the copies.
    least: &'static [&'static str],
    /// The greatest of the copies.
    greatest: &'static [&'static str],
}

const NEWEST: &str = "at DESC, sequence DESC, id DESC";
const LEAST_COPY: &str = "sequence, id";

/// All tables that are loaded.
const MERGES: [Merge; 15] = [
    Merge {
        table: "provider_devices",
        key: &["id"],
        same: &["organization", "integration", "known_by", "external_id"],
        taken: &[
            Taken {
                columns: &["name", "name_at", "name_sequence", "name_id"],
                order: "name_at DESC NULLS LAST, name_sequence DESC, name_id DESC",
            },
            Taken {
                columns: &["first_name", "first_name_recorded_at", "first_name_id"],
                order: "first_name_recorded_at, first_name_id",
            },
            Taken {
                columns: &["bound_device", "bound_at", "bound_sequence", "bound_id"],
                order: "bound_at DESC NULLS LAST, bound_sequence DESC, bound_id DESC",
            },
            Taken {
                columns: &["gone_how", "gone_at", "gone_sequence", "gone_id"],
                order: "gone_at DESC NULLS LAST, gone_sequence DESC, gone_id DESC",
            },
            Taken {
                columns: &["seen_at", "seen_sequence", "seen_id"],
                order: "seen_at DESC NULLS LAST, seen_sequence DESC, seen_id DESC",
            },
        ],
        least: &[],
        greatest: &[],
    },
    Merge {
        table: "field_registers",
        key: &["provider_device", "field"],
        same: &["organization"],
        taken: &[Taken {
            columns: &["value", "value_hash", "at", "sequence", "id"],
            order: NEWEST,
        }],
        least: &[],
        greatest: &[],
    },
    Merge {
        table: "activity",
        key: &["provider_device"],
        same: &["organization", "integration"],
        taken: &[
            Taken {
                columns: &[
                    "last_report_by",
                    "last_report_origin",
                    "last_report_at",
                    "last_report_sequence",
                    "last_report_id",
                ],
                order: "last_report_at DESC NULLS LAST, last_report_sequence DESC, last_report_id DESC",
            },
            Taken {
                columns: &[
                    "connected_session",
                    "connected_evidence",
                    "connected_at",
                    "connected_sequence",
                    "connected_id",
                ],
                order: "connected_at DESC NULLS LAST, connected_sequence DESC, connected_id DESC",
            },
            Taken {
                columns: &[
                    "disconnected_session",
                    "disconnected_evidence",
                    "disconnected_reason",
                    "disconnected_at",
                    "disconnected_sequence",
                    "disconnected_id",
                ],
                order: "disconnected_at DESC NULLS LAST, disconnected_sequence DESC, disconnected_id DESC",
            },
        ],
        least: &[],
        greatest: &[],
    },
    Merge {
        table: "connections",
        key: &["provider_device", "at", "connected", "session_id"],
        same: &["organization"],
        taken: &[Taken {
            columns: &["sequence", "id", "reason", "evidence"],
            order: LEAST_COPY,
        }],
        least: &["recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "firmware_reports",
        key: &["provider_device", "package", "at", "fact"],
        same: &["organization", "version", "target", "state", "reason"],
        taken: &[Taken {
            columns: &["sequence", "id", "state_code", "reason_code", "via"],
            order: LEAST_COPY,
        }],
        least: &["recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "readings_latest",
        key: &["provider_device", "path", "shape"],
        same: &["organization"],
        taken: &[Taken {
            columns: &[
                "at",
                "sequence",
                "id",
                "recorded_at",
                "content_type",
                "data",
                "bytes",
            ],
            order: "at DESC, sequence DESC, id DESC, recorded_at",
        }],
        least: &[],
        greatest: &[],
    },
    Merge {
        table: "readings",
        key: &["provider_device", "at", "sequence", "id"],
        same: &[
            "organization",
            "path",
            "content_type",
            "data",
            "bytes",
            "origin",
            "device_name",
            "name_at",
        ],
        taken: &[],
        least: &["recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "logs",
        key: &["provider_device", "at", "sequence", "id"],
        same: &[
            "organization",
            "level",
            "module",
            "message",
            "metadata",
            "origin",
            "device_name",
            "name_at",
        ],
        taken: &[],
        least: &["recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "registry_facts",
        key: &["provider_device", "id"],
        same: &["organization", "name", "sequence", "origin", "body"],
        taken: &[],
        least: &["at", "recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "local_facts",
        key: &["device", "id"],
        same: &["organization", "name", "serial", "sequence", "author", "body"],
        taken: &[],
        least: &["at", "recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "field_edits",
        key: &["device", "field", "at", "sequence", "id"],
        same: &[
            "organization",
            "value",
            "value_hash",
            "seen_remote",
            "seen_hash",
            "seen_remote_at",
            "seen_edit",
            "strategy",
            "resolves",
            "author",
            "reason",
        ],
        taken: &[],
        least: &["recorded_at"],
        greatest: &[],
    },
    Merge {
        table: "edit_answers",
        key: &["device", "edit", "field"],
        same: &["organization"],
        taken: &[Taken {
            columns: &["outcome", "answer", "at", "sequence", "id"],
            order: NEWEST,
        }],
        least: &[],
        greatest: &[],
    },
    Merge {
        table: "horizons",
        key: &["history"],
        same: &[],
        taken: &[],
        least: &[],
        greatest: &["before"],
    },
    Merge {
        table: "receipt_timed",
        key: &["provider_device", "id"],
        same: &["organization"],
        taken: &[],
        least: &["at"],
        greatest: &[],
    },
    Merge {
        table: "listening",
        key: &["integration", "partition"],
        same: &["organization"],
        taken: &[],
        least: &[],
        greatest: &["last_push_at", "last_scan_at"],
    },
];

/// The statement that makes one row of rows with equal keys, in a table or one of its partitions; `None` where rows
/// are not loaded but derived.
pub(super) fn merge(table: &str, leaf: &str) -> Option<String> {
    let merge = MERGES.iter().find(|merge| merge.table == table)?;
    let key = merge.key.join(", ");
    let held_key = prefixed("held", merge.key);
    let doubled_key = prefixed("doubled", merge.key);
    let mut windows = vec![format!("copies AS (PARTITION BY {key})")];
    let mut columns = merge.key.to_vec();
    let mut values: Vec<String> = merge.key.iter().map(|column| (*column).to_owned()).collect();
    let mut add = |column: &'static str, value: String| {
        columns.push(column);
        values.push(value);
    };
    for column in merge.same {
        add(column, (*column).to_owned());
    }
    for (taken, number) in merge.taken.iter().zip(1..) {
        windows.push(format!(
            "taken_{number} AS (PARTITION BY {key} ORDER BY {})",
            taken.order
        ));
        for column in taken.columns {
            add(column, format!("first_value({column}) OVER taken_{number}"));
        }
    }
    for column in merge.least {
        add(column, format!("min({column}) OVER copies"));
    }
    for column in merge.greatest {
        add(column, format!("max({column}) OVER copies"));
    }
    Some(format!(
        "WITH doubled AS (SELECT {key} FROM {leaf} GROUP BY {key} HAVING count(*) > 1),
              removed AS (DELETE FROM {leaf} AS held USING doubled
                           WHERE ({held_key}) = ({doubled_key}) RETURNING held.*)
         INSERT INTO {leaf} ({})
         SELECT DISTINCT ON ({key}) {} FROM removed WINDOW {}",
        columns.join(", "),
        values.join(", "),
        windows.join(", "),
    ))
}

fn prefixed(prefix: &str, columns: &[&str]) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|column| format!("{prefix}.{column}"))
        .collect();
    columns.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        generations::{KEYS, TRUTH, columns_of},
        rebuild::index::statement::{self, Statement},
    };

    #[test]
    fn every_column_of_every_table_that_is_loaded_is_joined() {
        let tables = columns_of(TRUTH);
        for Merge {
            table,
            key,
            same,
            taken,
            least,
            greatest,
        } in &MERGES
        {
            let taken = taken.iter().flat_map(|taken| taken.columns);
            let all = key
                .iter()
                .chain(*same)
                .chain(taken)
                .chain(*least)
                .chain(*greatest);
            let all: Vec<&str> = all.copied().collect();
            let named: BTreeSet<&str> = all.iter().copied().collect();
            assert_eq!(named.len(), all.len(), "{table}: a column stands twice");
            let there: BTreeSet<&str> = tables.get(table).expect("a table").iter().copied().collect();
            assert_eq!(named, there, "{table}");
        }
        let derived = ["links", "devices", "device_anchor"];
        assert_eq!(tables.len(), MERGES.len() + derived.len());
    }

    #[test]
    fn the_keys_are_those_of_the_script() {
        for statement in statement::read(KEYS).expect("understood") {
            if let Statement::PrimaryKey { table, columns } = statement
                && let Some(merge) = MERGES.iter().find(|merge| merge.table == table)
            {
                assert_eq!(merge.key.join(", "), columns, "{table}");
            }
        }
    }
}
