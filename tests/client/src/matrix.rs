//! A table in Markdown whose rows are operations and whose columns are principals, and what of it differs.

use std::fmt::Write;

/// The document: text, then one table.
pub struct Matrix {
    /// All that stands before it.
    preface: String,
    columns: Vec<String>,
    sections: Vec<Section>,
}

struct Section {
    heading: String,
    rows: Vec<Row>,
}

/// An operation, and what each principal gets.
pub struct Row {
    /// The statement.
    pub operation: String,
    /// In the order of the columns; empty in a row that is new.
    pub cells: Vec<String>,
}

impl Matrix {
    /// Reads it. A row that is one bold cell is a heading; in others the first cell is a statement in backticks.
    pub fn parse(text: &str, columns: &[&str]) -> Result<Self, String> {
        let start = text.find("\n| operation").ok_or("there is no table of operations")? + 1;
        let mut lines = text[start..].lines();
        let header = split(lines.next().unwrap_or_default());
        if header.iter().skip(1).ne(columns) {
            return Err(format!("the columns are {header:?}, not {columns:?}"));
        }
        lines.next();
        let mut sections: Vec<Section> = Vec::new();
        for line in lines {
            let mut cells = split(line);
            let first = if cells.is_empty() { String::new() } else { cells.remove(0) };
            if let Some(heading) = between(&first, "**") {
                sections.push(Section { heading: heading.to_owned(), rows: Vec::new() });
            } else if let (Some(operation), Some(section)) = (between(&first, "`"), sections.last_mut()) {
                if !cells.is_empty() && cells.len() != columns.len() {
                    return Err(format!("not one cell for each column: {line}"));
                }
                section.rows.push(Row { operation: operation.to_owned(), cells });
            } else {
                return Err(format!("neither a heading nor an operation below one: {line}"));
            }
        }
        if let Some(empty) = sections.iter().find(|section| section.rows.is_empty()) {
            return Err(format!("no operation below {}", empty.heading));
        }
        Ok(Self {
            preface: text[..start].to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            sections,
        })
    }

    /// All operations, each with its heading.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.sections
            .iter()
            .flat_map(|section| section.rows.iter().map(|row| (section.heading.as_str(), row)))
    }

    /// The cells that differ, one a line, as a table. `got` has a list for each column, in the order of the operations.
    #[must_use]
    pub fn differences(&self, got: &[Vec<String>]) -> String {
        let mut lines = String::new();
        for (at, (heading, row)) in self.operations().enumerate() {
            let mut expected = row.cells.iter().map(String::as_str);
            for (column, got) in self.columns.iter().zip(got) {
                let (expected, got) = (expected.next().unwrap_or_default(), &got[at]);
                if expected != got {
                    let operation = &row.operation;
                    writeln!(
                        lines,
                        "| {heading} | `{operation}` | {column} | expected: {expected} | got: {got} |"
                    )
                    .expect("a string takes any text");
                }
            }
        }
        lines
    }

    /// The document with other cells, its columns aligned.
    #[must_use]
    pub fn with_cells(&self, got: &[Vec<String>]) -> String {
        let mut text = self.preface.clone();
        let longest = self.operations().map(|(_, row)| row.operation.len() + 2).max().unwrap_or_default();
        let mut line = |first: &str, cells: &[&str]| {
            write!(text, "| {first:longest$} |").expect("a string takes any text");
            for (cell, column) in cells.iter().zip(&self.columns) {
                write!(text, " {cell:width$} |", width = column.len().max(5))
                    .expect("a string takes any text");
            }
            text.push('\n');
        };
        let names: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        line("operation", &names);
        line("---", &vec!["---"; names.len()]);
        let mut at = 0;
        for section in &self.sections {
            line(&format!("**{}**", section.heading), &[]);
            for row in &section.rows {
                let cells: Vec<&str> = got.iter().map(|cells| cells[at].as_str()).collect();
                line(&format!("`{}`", row.operation), &cells);
                at += 1;
            }
        }
        text
    }
}

/// The cells of a line of a table.
fn split(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands between two marks.
fn between<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.strip_prefix(mark)?.strip_suffix(mark)
}

#[cfg(test)]
mod tests {
    use super::Matrix;

    const COLUMNS: [&str; 2] = ["one", "two"];
    const TABLE: &str = "Text\n\n| operation | one | two |\n|---|---|---|\n| **thing** |\n| `SELECT 1` | ok 1 | - |\n| `NEW` |\n";

    #[test]
    fn what_differs_is_told_cell_by_cell() {
        let table = Matrix::parse(TABLE, &COLUMNS).unwrap();
        let cells = [["ok 1", "ok"], ["ok 2", ""]].map(|column| column.map(str::to_owned).to_vec());
        assert_eq!(
            table.differences(&cells),
            "| thing | `SELECT 1` | two | expected: - | got: ok 2 |\n| thing | `NEW` | one | expected:  | got: ok |\n"
        );
        let written = table.with_cells(&cells);
        let table = Matrix::parse(&written, &COLUMNS).unwrap();
        assert_eq!(table.differences(&cells), "", "{written}");
        assert!(written.starts_with("Text\n\n| operation"));
    }

    #[test]
    fn a_table_that_would_be_misread_is_refused() {
        for (good, bad) in
            [("one", "three"), (" ok 1 |", ""), ("**thing**", "thing"), ("| `NEW` |", "| **none** |")]
        {
            assert!(Matrix::parse(&TABLE.replacen(good, bad, 1), &COLUMNS).is_err(), "{bad}");
        }
    }
}
