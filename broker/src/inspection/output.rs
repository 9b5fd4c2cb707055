//! What is found, as tables for people or as one JSON object a line for programs: the same names in both.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell as TableCell, CellAlignment, Table};
use serde_json::{Map, Value, json};
use storage::calendar;
use storage::types::TimestampMs;

/// Rows a table has at most; a longer one goes on with its titles repeated. Bounds memory.
const ROWS_MAX: usize = 500;

/// Characters of a key or value that a table shows.
const SHOWN_MAX: usize = 80;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    None,
    Text(String),
    Number(i64),
    /// Negative is none.
    Time(TimestampMs),
    Flag(bool),
    /// A key or a value of a record.
    Data(Option<Bytes>),
    /// Something with fields of its own.
    Fields(Value),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    pub(super) fn size(bytes: u64) -> Cell {
        Cell::Number(i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    pub(super) fn count(count: usize) -> Cell {
        Cell::size(count as u64)
    }

    /// `-1` stands for none.
    pub(super) fn known(number: i64) -> Cell {
        if number < 0 { Cell::None } else { Cell::Number(number) }
    }

    fn json(&self) -> Value {
        match self {
            Cell::None => Value::Null,
            Cell::Text(text) => json!(text),
            Cell::Number(number) => json!(number),
            Cell::Time(time) if time.0 < 0 => Value::Null,
            Cell::Time(time) => json!(time.0),
            Cell::Flag(flag) => json!(flag),
            Cell::Data(data) => data.as_deref().map_or(Value::Null, data_json),
            Cell::Fields(fields) => fields.clone(),
        }
    }

    fn shown(&self) -> TableCell {
        let cell = TableCell::new(self.for_people());
        match self {
            Cell::Number(_) => cell.set_alignment(CellAlignment::Right),
            _ => cell,
        }
    }

    fn for_people(&self) -> String {
        match self {
            Cell::None => "-".to_owned(),
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number.to_string(),
            Cell::Time(time) if time.0 < 0 => "-".to_owned(),
            Cell::Time(time) => calendar::utc(*time),
            Cell::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Cell::Data(None) => "null".to_owned(),
            Cell::Data(Some(data)) => shortened(&String::from_utf8_lossy(data).escape_debug().to_string()),
            Cell::Fields(fields) => fields_for_people(fields),
        }
    }
}

/// Text as text, anything else as base64 with a name that says so.
fn data_json(data: &[u8]) -> Value {
    match str::from_utf8(data) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(data) }),
    }
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn fields_for_people(fields: &Value) -> String {
    let Value::Object(fields) = fields else { return fields.to_string() };
    let pairs = fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    pairs.collect::<Vec<_>>().join(" ")
}

/// Columns of one kind of row.
pub(super) struct Columns {
    /// What a row is; the field `type` in JSON.
    pub(super) kind: &'static str,
    pub(super) names: &'static [&'static str],
}

/// Where everything goes.
pub(super) struct Output<W: Write> {
    to: W,
    json: bool,
    table: Option<(&'static Columns, Table, usize)>,
}

impl<W: Write> Output<W> {
    pub(super) fn new(to: W, json: bool) -> Output<W> {
        Output { to, json, table: None }
    }

    /// A row of the table of its kind. `cells` are in the order of the names.
    pub(super) fn row(&mut self, columns: &'static Columns, cells: Vec<Cell>) -> io::Result<()> {
        debug_assert_eq!(columns.names.len(), cells.len(), "{}", columns.kind);
        if self.json {
            let pairs =
                columns.names.iter().zip(&cells).map(|(name, cell)| ((*name).to_owned(), cell.json()));
            return self.object(columns.kind, pairs.collect());
        }
        let fits = |(of, _, rows): &(&Columns, Table, usize)| of.kind == columns.kind && *rows < ROWS_MAX;
        if !self.table.as_ref().is_some_and(fits) {
            self.end_table()?;
        }
        let (_, table, rows) = self.table.get_or_insert_with(|| (columns, titled(columns), 0));
        table.add_row(cells.iter().map(Cell::shown));
        *rows += 1;
        Ok(())
    }

    /// Facts about one thing.
    pub(super) fn facts(&mut self, kind: &'static str, facts: Vec<(&'static str, Cell)>) -> io::Result<()> {
        self.end_table()?;
        if self.json {
            let pairs = facts.iter().map(|(name, cell)| ((*name).to_owned(), cell.json()));
            return self.object(kind, pairs.collect());
        }
        for (name, cell) in facts {
            writeln!(self.to, "{:<18} {}", title(name), cell.for_people())?;
        }
        Ok(())
    }

    /// A line above what follows; programs find the same in the fields.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.end_table()?;
        if self.json { Ok(()) } else { writeln!(self.to, "\n{text}") }
    }

    /// Everything is out after this.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.end_table()?;
        self.to.flush()
    }

    fn object(&mut self, kind: &str, fields: Map<String, Value>) -> io::Result<()> {
        let mut object = Map::from_iter([("type".to_owned(), json!(kind))]);
        object.extend(fields);
        writeln!(self.to, "{}", Value::Object(object))
    }

    fn end_table(&mut self) -> io::Result<()> {
        match self.table.take() {
            Some((_, table, _)) => {
                for line in table.to_string().lines() {
                    writeln!(self.to, "{}", line.trim_end())?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn titled(columns: &Columns) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(columns.names.iter().map(|name| title(name)));
    table
}

fn title(name: &str) -> String {
    name.replace('_', " ")
}
