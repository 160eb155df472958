//! `smf map`: the page and the picture of a module.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{contains, fails, is_misused, ok, scratch};

#[test]
fn page_contains_the_module_and_needs_no_network() {
    let out = scratch("map-page").join("map.html");
    ok(&["map", "packed.smf", "-o", out.to_str().unwrap()]);
    let page = fs::read_to_string(out).unwrap();
    contains(&page, &["\"name\":\"answer\"", "prefers-color-scheme: dark", "id=\"search\""]);
    let addresses: Vec<&str> = page.split("http").skip(1).collect();
    assert!(
        addresses.iter().all(|rest| rest.starts_with("://www.w3.org/2000/svg")),
        "{addresses:?}"
    );
    assert!(!page.contains("@MODULE@"));
    contains(&fails(&["map", "library.lsm", "-o", "x.html"]), &["archive"]);
}

#[test]
fn picture_has_a_bar_for_each_section_and_symbol() {
    let out = scratch("map-picture").join("map.svg");
    ok(&["map", "--svg", "packed.smf", "-o", out.to_str().unwrap()]);
    let picture = fs::read_to_string(out).unwrap();
    contains(
        &picture,
        &["<svg xmlns", ".text (94 bytes)", "<title>answer: 6 bytes</title>", "</svg>"],
    );
    // The background, four sections and seven symbols.
    assert_eq!(picture.matches("<rect").count(), 1 + 4 + 7);
}

/// Found: a page of HTML in a file called `map.svg`.
#[test]
fn name_of_the_other_form_is_refused() {
    let directory = scratch("map-extension");
    for (options, name) in [(&["map"][..], "map.SVG"), (&["map", "--svg"], "map.html")] {
        let out = directory.join(name);
        let args = [options, &["packed.smf", "-o", out.to_str().unwrap()]].concat();
        contains(&is_misused(&args), &[name, "--svg"]);
        assert!(!out.exists());
    }
}

/// Runs a headless browser; its standard output.
fn browser(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]);
    command.arg(format!("--user-data-dir={}", directory.join("profile").display()));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", super::text(&output.stderr));
    super::text(&output.stdout)
}

#[test]
#[ignore = "needs Chromium: cargo xtask ci full browser"]
fn browser_shows_the_elements_and_searches() {
    let directory = scratch("map-browser");
    let out = directory.join("map.html");
    ok(&["map", "packed.smf", "-o", out.to_str().unwrap()]);
    let url = format!("file://{}", out.display());
    let all = browser(&directory, &["--dump-dom", &url]);
    assert_eq!(all.matches("class=\"symbol\"").count(), 7);
    assert_eq!(all.matches("class=\"section\"").count(), 4);
    assert_eq!(all.matches("class=\"page\"").count(), 1);
    assert!(all.contains("class=\"arc\"") && !all.contains("class=\"symbol hit\""));
    let found = browser(&directory, &["--dump-dom", &format!("{url}#cOUNT")]);
    assert_eq!(found.matches("class=\"symbol hit\"").count(), 1);
    contains(&found, &["1 symbols"]);
    // A page without content has a picture of a few kilobytes.
    let picture = |name: &str, url: &str| {
        let file = directory.join(name);
        browser(&directory, &[&format!("--screenshot={}", file.display()), url]);
        fs::metadata(file).unwrap().len()
    };
    let (page, blank) = (picture("page.png", &url), picture("blank.png", "about:blank"));
    assert!(page > 4 * blank, "{page} bytes, blank {blank}");
}
