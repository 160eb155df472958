//! `cargo xtask bench --html`: the figures of a benchmark and of the peers, on one page that needs no network.

use std::fmt::Write;

use serde_json::Value;

/// The page. What begins with `@` is replaced.
const PAGE: &str = include_str!("bench.html");

/// The widths of bars and of the overview in units of SVG.
const BARS: f64 = 480.0;
const OVERVIEW: f64 = 1100.0;

/// The ratios at the ends of the overview: powers of ten.
const DECADES: f64 = 3.0;

/// The page of the figures that the benchmark writes with `--json`.
pub(crate) fn page(figures: &Value) -> String {
    let rows = figures["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let machine = figures["machine"].as_object();
    let facts = machine.into_iter().flatten().map(|(name, value)| {
        format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value.as_str().unwrap_or("")))
    });
    let parts = [
        ("@MACHINE@", facts.collect::<String>()),
        ("@OVERVIEW@", overview(rows)),
        ("@ROWS@", rows.iter().map(row).collect()),
    ];
    // Names in earlier parts may look like the marks of later ones.
    let mut page = String::new();
    let mut rest = PAGE;
    for (mark, text) in parts {
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        page += before;
        page += &text;
        rest = after;
    }
    page + rest
}

/// A row of the table: the bars of both figures, on one scale.
fn row(row: &Value) -> String {
    let unit = row["unit"].as_str().unwrap_or("");
    let ours = row["ours"].as_f64().unwrap_or(f64::NAN);
    let peer = row["peer"].as_f64();
    let name = escaped(row["name"].as_str().unwrap_or(""));
    let target = row["target_ratio"].as_f64();
    let limit = row["target_limit"].as_f64();
    let marked = limit.or(target.zip(peer).map(|(ratio, peer)| ratio * peer));
    let largest =
        [Some(ours), peer, marked].into_iter().flatten().fold(f64::MIN_POSITIVE, f64::max);
    let width = |figure: f64| (figure / largest * BARS).max(1.0);
    let height = if peer.is_some() { 44 } else { 24 };
    let mut bars = format!("<svg viewBox=\"0 0 {} {height}\">", BARS + 220.0);
    let mut bar = |class: &str, y: u32, figure: f64, text: &str| {
        let (width, label) = (width(figure), width(figure) + 6.0);
        let _ = write!(
            bars,
            "<rect class=\"{class}\" x=\"0\" y=\"{y}\" width=\"{width:.1}\" height=\"16\"/>\
             <text x=\"{label:.1}\" y=\"{}\">{text}</text>",
            y + 12
        );
    };
    bar("ours", 2, ours, &shown(ours, unit));
    if let Some(peer) = peer {
        let name = escaped(row["peer_name"].as_str().unwrap_or(""));
        bar("peer", 22, peer, &format!("{} {name}", shown(peer, unit)));
    }
    if let Some(marked) = marked {
        let x = width(marked);
        let _ = write!(
            bars,
            "<line class=\"target\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/>"
        );
    }
    bars += "</svg>";
    let ratio = peer.map(|peer| format!("{:.3}", ours / peer)).unwrap_or_default();
    let most = match (target, limit) {
        (Some(ratio), _) => format!("{ratio} x"),
        (None, Some(limit)) => shown(limit, unit),
        (None, None) => String::new(),
    };
    let verdict = match row["met"].as_bool() {
        Some(true) => " <span class=\"met\">met</span>",
        Some(false) => " <span class=\"missed\">not met</span>",
        None => "",
    };
    format!(
        "<tr class=\"row\"><th>{name}</th><td class=\"bars\">{bars}</td>\
         <td class=\"number\">{ratio}</td><td class=\"target\">{most}{verdict}</td></tr>\n"
    )
}

/// A dot for each ratio on a logarithmic axis, in as many lines as keep the dots apart.
fn overview(rows: &[Value]) -> String {
    let mut dots = Vec::new();
    for row in rows {
        if let (Some(ours), Some(peer)) = (row["ours"].as_f64(), row["peer"].as_f64()) {
            let at = (ours / peer).log10().clamp(-DECADES, DECADES);
            dots.push(((at + DECADES) / (2.0 * DECADES) * (OVERVIEW - 40.0) + 20.0, row));
        }
    }
    dots.sort_by(|one, other| one.0.total_cmp(&other.0));
    // The last dot of each line.
    let mut lines: Vec<f64> = Vec::new();
    let mut text = String::new();
    for (x, row) in dots {
        let line = lines.iter().position(|last| x - last >= 11.0).unwrap_or(lines.len());
        if line == lines.len() {
            lines.push(x);
        }
        if let Some(last) = lines.get_mut(line) {
            *last = x;
        }
        let ratio = row["ours"].as_f64().zip(row["peer"].as_f64()).map_or(0.0, |(a, b)| a / b);
        let [name, peer] =
            ["name", "peer_name"].map(|key| escaped(row[key].as_str().unwrap_or("")));
        let _ = write!(
            text,
            "<circle class=\"ours\" cx=\"{x:.1}\" cy=\"{}\" r=\"5\"><title>{name}: {ratio:.3} x {peer}</title></circle>",
            14 + line * 11
        );
    }
    let bottom = 24 + lines.len() * 11;
    let mut axis = String::new();
    for (decade, label) in (-3..=3).zip(["0.001", "0.01", "0.1", "1", "10", "100", "1000"]) {
        let x = (f64::from(decade) + DECADES) / (2.0 * DECADES) * (OVERVIEW - 40.0) + 20.0;
        let _ = write!(
            axis,
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"4\" y2=\"{bottom}\"/>\
             <text class=\"small\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label} x</text>",
            bottom + 14
        );
    }
    format!(
        "<svg class=\"overview\" viewBox=\"0 0 {OVERVIEW} {}\" role=\"img\" \
         aria-label=\"Ratios on a logarithmic axis; left of 1 smf is faster\">{axis}{text}</svg>",
        bottom + 22
    )
}

/// A figure in readable units.
fn shown(figure: f64, unit: &str) -> String {
    match (unit, figure) {
        ("ns", ..1e3) => format!("{figure:.2} ns"),
        ("ns", ..1e6) => format!("{:.2} us", figure / 1e3),
        ("ns", _) => format!("{:.2} ms", figure / 1e6),
        ("%", _) => format!("{figure:.1} %"),
        _ => format!("{figure}"),
    }
}

/// A text as the contents of an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use serde_json::json;

    use super::*;

    fn made_up() -> Value {
        let row = |name: &str, ours: f64, peer: Option<f64>, met: Option<bool>| {
            json!({
                "name": name, "ours": ours, "unit": "ns", "peer_name": "a < peer", "peer": peer,
                "target_ratio": 0.5, "target_limit": null, "met": met,
            })
        };
        json!({
            "machine": { "cpu": "Made & up", "kernel": "6.1" },
            "rows": [
                row("load @ROWS@ one", 250.0, Some(1000.0), Some(true)),
                row("load two", 2_500_000.0, Some(1000.0), Some(false)),
                row("alone", 1500.0, None, None),
                json!({ "name": "share", "ours": 12.5, "unit": "%", "target_limit": 20.0, "met": true }),
            ],
        })
    }

    #[test]
    fn page_has_a_row_for_each_figure_and_needs_no_network() {
        let page = page(&made_up());
        let count = |text: &str| page.matches(text).count();
        assert_eq!((count("<tr class=\"row\">"), count("<circle ")), (4, 2));
        assert_eq!((count("rect class=\"ours\""), count("rect class=\"peer\"")), (4, 2));
        assert_eq!((count(">met<"), count(">not met<")), (2, 1));
        for text in [
            "250.00 ns</text>",
            "1.00 us a &lt; peer</text>",
            "2.50 ms</text>",
            "<td class=\"number\">0.250</td>",
            "<td class=\"number\">2500.000</td>",
            "12.5 %</text>",
            "20.0 %",
            "load @ROWS@ one",
            "<dd>Made &amp; up</dd>",
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
        assert!(!page.contains("http") && !page.contains("a < peer"));
        // A quarter of the peer's bar, and the target at half of it.
        assert!(page.contains("class=\"ours\" x=\"0\" y=\"2\" width=\"120.0\""), "{page}");
        assert!(page.contains("class=\"target\" x1=\"240.0\""), "{page}");
    }

    #[test]
    fn page_without_figures_is_valid() {
        let page = page(&json!({ "rows": [] }));
        assert!(page.contains("</html>") && page.contains("<tbody>\n</tbody>"), "{page}");
    }

    /// Runs a headless browser; its standard output.
    fn browser(directory: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("chromium");
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]);
        command.arg(format!("--user-data-dir={}", directory.join("profile").display()));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    #[ignore = "needs Chromium: cargo xtask ci full browser"]
    fn browser_shows_the_bars_and_filters() {
        let directory = crate::shell::target().join("tmp/bench-page");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("bench.html");
        std::fs::write(&file, page(&made_up())).unwrap();
        let url = format!("file://{}", file.display());
        let all = browser(&directory, &["--dump-dom", &url]);
        assert!(!all.contains("hidden=\"\""), "{all}");
        let some = browser(&directory, &["--dump-dom", &format!("{url}#LOAD")]);
        assert_eq!(some.matches("hidden=\"\"").count(), 2);
        assert!(some.contains("2 of 4 measures"));
        let picture = directory.join("bench.png");
        let screenshot = format!("--screenshot={}", picture.display());
        browser(&directory, &[&screenshot, &url]);
        // A blank page of this size is about 4 KiB.
        assert!(std::fs::metadata(picture).unwrap().len() > 10_000);
    }
}
