//! What `remember local` shows: a table that is redrawn in place, and a line for each change.
//!
//! On a terminal the lines scroll away above the table; elsewhere there are only lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Event, News, RESTART, Standing};
use crate::cli::table::{self, row};
use crate::cli::terminal::{Style, Terminal};

/// What is known of all nodes.
#[derive(Debug)]
pub(super) struct Board {
    rows: BTreeMap<u8, Row>,
    /// The term and the id of the newest leader.
    leader: Option<(u64, u8)>,
    /// When and how the leader was lost, until there is another.
    lost: Option<(Instant, String)>,
    terminal: Terminal,
    /// The lines of the table on the terminal.
    drawn: usize,
}

/// What is known of one node.
#[derive(Clone, Debug, Default)]
struct Row {
    standing: Standing,
    commit: Option<u64>,
    pid: Option<u32>,
    state: String,
}

impl Board {
    pub(super) fn new(terminal: Terminal) -> Self {
        Self {
            rows: BTreeMap::new(),
            leader: None,
            lost: None,
            terminal,
            drawn: 0,
        }
    }

    /// Shows all that happens, until nothing can happen any more.
    pub(super) async fn show(&mut self, news: &mut mpsc::Receiver<News>) -> anyhow::Result<()> {
        self.draw(&[])?;
        while let Some(first) = news.recv().await {
            let mut lines: Vec<_> = self.take(first).into_iter().collect();
            while let Ok(next) = news.try_recv() {
                lines.extend(self.take(next));
            }
            self.draw(&lines)?;
        }
        Ok(())
    }

    /// Notes what happened, and puts it into words if it is worth a line.
    fn take(&mut self, news: News) -> Option<String> {
        let (node, at) = (news.node, news.at);
        if news.what == Event::Left {
            self.rows.remove(&node);
            return Some(format!("node {node} has left"));
        }
        let row = self.rows.entry(node).or_default();
        match news.what {
            Event::Left => None,
            Event::Started { pid } => {
                row.pid = Some(pid);
                "running".clone_into(&mut row.state);
                Some(format!("node {node} runs as process {pid}"))
            }
            Event::Ended { how, restarts } => {
                let was = std::mem::take(&mut row.standing);
                row.pid = None;
                row.commit = None;
                let then = if restarts {
                    format!(", starts again in {} s", RESTART.as_secs())
                } else {
                    String::new()
                };
                row.state = format!("{how}{then}");
                let line = format!("node {node} {}", row.state);
                if was.role == "leader" && self.leader == Some((was.term, node)) {
                    self.lost = Some((at, format!("node {node} {how}")));
                }
                Some(line)
            }
            Event::NotStarted { why } => {
                row.state.clone_from(&why);
                Some(format!("node {node} does not start: {why}"))
            }
            Event::Committed(index) => {
                row.commit = row.pid.map(|_| index);
                None
            }
            // Told before its process ended.
            Event::Standing(_) if row.pid.is_none() => None,
            Event::Standing(standing) => {
                let was = std::mem::replace(&mut row.standing, standing.clone());
                self.moved(node, at, &was, &standing)
            }
        }
    }

    fn moved(&mut self, node: u8, at: Instant, was: &Standing, is: &Standing) -> Option<String> {
        let Standing { role, term, .. } = is;
        if role == "leader" {
            let claim = (is.term, node);
            if !is.established || self.leader >= Some(claim) {
                return None;
            }
            self.leader = Some(claim);
            let tickets = is.tickets;
            let line = format!("node {node} leads in term {term}, elected with {tickets} tickets");
            return Some(match self.lost.take() {
                Some((since, how)) => {
                    let took = at.saturating_duration_since(since).as_secs_f64() * 1e3;
                    format!("{line}, {took:.1} ms after {how}")
                }
                None => line,
            });
        }
        let changed = (&was.role, was.term, was.leader) != (role, *term, is.leader);
        changed.then(|| match is.leader {
            Some(leader) => format!("node {node} follows node {leader} in term {term}"),
            None => format!("node {node} is a {role} in term {term}, without a leader"),
        })
    }

    /// Writes the lines, and the table anew below them.
    fn draw(&mut self, lines: &[String]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if !self.terminal.redraws {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            return out.flush();
        }
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line of the table, and everything from there on away.
            // Writing to a string does not fail.
            let _ok = write!(text, "\x1b[{}A\r\x1b[J", self.drawn);
        }
        let table = self.table();
        self.drawn = table.len();
        for line in lines.iter().chain(&table) {
            text.push_str(line);
            text.push('\n');
        }
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn table(&self) -> Vec<String> {
        let head = row![
            "NODE", "ROLE", "TERM", "LEADER", "TICKETS", "COMMIT", "PID", "STATE"
        ];
        let rows = self.rows.iter().map(|(node, row)| row.cells(*node));
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        let styles = std::iter::once(None).chain(self.rows.values().map(Row::style));
        let lines = table::lines(&rows);
        let coloured = lines.iter().zip(styles).map(|(line, style)| {
            // A line that wraps could not be redrawn.
            let line: String = line.chars().take(79).collect();
            self.terminal.styled(style, &line)
        });
        std::iter::once(String::new()).chain(coloured).collect()
    }
}

impl Row {
    fn cells(&self, node: u8) -> Vec<String> {
        let Standing {
            role,
            term,
            leader,
            tickets,
            ..
        } = &self.standing;
        let known = |text: String| {
            if role.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        let or_none = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
        row![
            node,
            known(role.clone()),
            known(term.to_string()),
            or_none(*leader),
            known(tickets.to_string()),
            or_none(self.commit),
            or_none(self.pid.map(u64::from)),
            self.state,
        ]
    }

    fn style(&self) -> Option<Style> {
        match self.standing.role.as_str() {
            _ if self.pid.is_none() => Some(Style::Bad),
            "leader" => Some(Style::Good),
            "follower" => None,
            _ => Some(Style::Passing),
        }
    }
}
