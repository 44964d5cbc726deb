//! Rows as CSV (RFC 4180).

/// A table that grows by rows.
#[derive(Debug)]
pub(crate) struct Csv(String);

impl Csv {
    /// With its header line.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut csv = Self(String::new());
        csv.row(columns.iter().map(|column| Cell::Text(column)));
        csv
    }

    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        for (index, cell) in cells.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            match cell {
                Cell::Text(text) => self.text(text),
                Cell::Whole(number) => self.0.push_str(&number.to_string()),
                Cell::Fraction(number) => self.0.push_str(&number.to_string()),
                Cell::Flag(flag) => self.0.push_str(if flag { "true" } else { "false" }),
                Cell::Empty => {}
            }
        }
        self.0.push_str("\r\n");
    }

    /// Names come from Zabbix, and whoever opens the file does so in a spreadsheet: what would begin a formula there gets a quote
    /// before it (OWASP, "CSV Injection").
    fn text(&mut self, text: &str) {
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let guarded = if formula { format!("'{text}") } else { text.to_owned() };
        if guarded.contains(['"', ',', '\r', '\n']) {
            self.0.push('"');
            self.0.push_str(&guarded.replace('"', "\"\""));
            self.0.push('"');
        } else {
            self.0.push_str(&guarded);
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// One value. A number is written as it is: nobody can put a formula into one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Whole(i64),
    Fraction(f64),
    Flag(bool),
    Empty,
}

impl From<Option<f64>> for Cell<'_> {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Cell::Empty, Cell::Fraction)
    }
}

impl From<Option<i64>> for Cell<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Cell::Empty, Cell::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_quotes_has_them_and_lines_end_as_the_rfc_says() {
        let mut csv = Csv::new(&["key", "seconds"]);
        csv.row([Cell::Text("Site A, \"hall\"\nright"), Cell::Whole(-5)]);
        csv.row([Cell::Text("Schöne Grüße"), Cell::Empty]);
        assert_eq!(csv.into_text(), "key,seconds\r\n\"Site A, \"\"hall\"\"\nright\",-5\r\nSchöne Grüße,\r\n");
    }

    #[test]
    fn what_a_spreadsheet_would_take_for_a_formula_gets_a_quote() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "=HYPERLINK(\"a\",\"b\")"] {
            let csv = Csv::new(&[text]).into_text();
            let cell = csv.trim_end_matches("\r\n").trim_start_matches('"');
            assert!(cell.starts_with('\''), "{text:?}: {csv:?}");
        }
        assert_eq!(Csv::new(&["a=b", "web-01"]).into_text(), "a=b,web-01\r\n");
    }
}
