//! Availability, times to respond and timelines, as JSON and as CSV.

use serde_json::{Value, json};
use signalbox_postgres::{Availability, By, Database, Durations, Planned, ReportPage, Response, TimelineInterval};

use crate::{
    Answer,
    csv::{Cell, Csv},
    parameters::{Format, Report},
    refusal::Refusal,
};

pub(crate) async fn availability(database: &Database, report: Report) -> Result<Answer, Refusal> {
    let by = report.by.clone().unwrap_or(By::Host);
    let planned = report.planned.unwrap_or(Planned::Exclude);
    let page = database.availability(&report.scope, &by, planned, report.cursor.as_ref(), report.limit).await?;
    if report.format == Format::Json {
        let mut answer = head(&report, Some(&by));
        answer["maintenance"] = if planned == Planned::Include { "include" } else { "exclude" }.into();
        return Ok(rows("rows", answer, &page));
    }
    let mut csv = Csv::new(&[column(&by), "down_seconds", "availability"]);
    for Availability { key, down_seconds, availability } in &page.rows {
        csv.row([Cell::Text(key), Cell::Whole(*down_seconds), Cell::Fraction(*availability)]);
    }
    Ok(table(csv, &page))
}

pub(crate) async fn response(database: &Database, report: Report) -> Result<Answer, Refusal> {
    let by = report.by.as_ref();
    let page = database.response(&report.scope, by, report.cursor.as_ref(), report.limit).await?;
    if report.format == Format::Json {
        return Ok(rows("rows", head(&report, by), &page));
    }
    let figures = |part: &str| {
        ["count", "mean_seconds", "median_seconds", "p90_seconds"].map(|figure| format!("{part}_{figure}"))
    };
    let (acknowledge, recover) = (figures("acknowledge"), figures("recover"));
    let mut columns = vec![by.map_or("all", column), "problems"];
    columns.extend(acknowledge.iter().chain(&recover).map(String::as_str));
    let mut csv = Csv::new(&columns);
    for Response { key, problems, acknowledge, recover } in &page.rows {
        let mut cells = vec![Cell::Text(key.as_deref().unwrap_or("all")), Cell::Whole(*problems)];
        for Durations { count, mean_seconds, median_seconds, p90_seconds } in [acknowledge, recover] {
            let figures = [*mean_seconds, *median_seconds, *p90_seconds];
            cells.push(Cell::Whole(*count));
            cells.extend(figures.into_iter().map(Cell::from));
        }
        csv.row(cells);
    }
    Ok(table(csv, &page))
}

pub(crate) async fn timeline(database: &Database, report: Report) -> Result<Answer, Refusal> {
    if report.scope.host.is_none() {
        return Err(Refusal::parameter_is("host", "is needed"));
    }
    let page = database.timeline(&report.scope, report.cursor.as_ref(), report.limit).await?;
    if report.format == Format::Json {
        let scope = &report.scope;
        let answer = json!({ "host": scope.host, "from": scope.from, "to": scope.to });
        return Ok(rows("intervals", answer, &page));
    }
    let flags = ["maintenance", "suppressed", "unmonitored"];
    let mut csv = Csv::new(&["event_id", "name", "from", "to", "severity", flags[0], flags[1], flags[2]]);
    for TimelineInterval { event_id, name, from, to, severity, maintenance, suppressed, unmonitored } in &page.rows {
        let flags = [*maintenance, *suppressed, *unmonitored].map(Cell::Flag);
        let what = [Cell::Text(event_id), Cell::Text(name), Cell::Whole(*from), Cell::from(*to)];
        csv.row(what.into_iter().chain([Cell::Whole((*severity).into())]).chain(flags));
    }
    Ok(table(csv, &page))
}

fn head(report: &Report, by: Option<&By>) -> Value {
    let scope = &report.scope;
    let mut head = json!({ "from": scope.from, "to": scope.to, "severity": scope.severity });
    if let Some(by) = by {
        head["by"] = match by {
            By::Host => "host",
            By::Group => "group",
            By::Tag(_) => "tag",
        }
        .into();
    }
    if let Some(By::Tag(tag)) = by {
        head["tag"] = tag.as_str().into();
    }
    head
}

fn rows<T: serde::Serialize>(name: &str, mut answer: Value, page: &ReportPage<T>) -> Answer {
    answer[name] = json!(page.rows);
    if let Some(cursor) = &page.cursor {
        answer["cursor"] = cursor.encode().into();
    }
    Answer::Json(answer)
}

fn table<T>(csv: Csv, page: &ReportPage<T>) -> Answer {
    Answer::Csv { text: csv.into_text(), cursor: page.cursor.as_ref().map(signalbox_postgres::ReportCursor::encode) }
}

fn column(by: &By) -> &str {
    match by {
        By::Host => "host",
        By::Group => "group",
        By::Tag(tag) => tag,
    }
}
