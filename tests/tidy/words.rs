//! The words: what the project calls things, and what it does not say.

use crate::{demand, has_extension, is_name, numbered, without_comment};

#[test]
fn words_are_the_house_s_own() {
    demand(words);
}

/// Complains of words that the project does not use. The list is spelled so that it does not
/// contain them.
fn words(path: &str, text: &str) -> Vec<String> {
    // Others name their modules as they like.
    let is_pinned = path.ends_with("/go.mod") || path.ends_with("/go.sum");
    if ["LICENSE", "Cargo.lock"].contains(&path) || is_pinned {
        return Vec::new();
    }
    let banned = [
        (concat!("mas", "ter"), "say leader"),
        (concat!("sla", "ve"), "say follower"),
        (concat!("/ho", "me/"), "name no path of one machine"),
        (concat!("/ro", "ot/"), "name no path of one machine"),
        (concat!("/us", "ers/"), "name no path of one machine"),
        (concat!("/wo", "rk/"), "name no path of one machine"),
        (concat!("fix", "me"), "mend it, or file an issue"),
        (concat!("xx", "x:"), "mend it, or file an issue"),
    ];
    let promise = concat!("TO", "DO");
    numbered(text)
        .flat_map(|(number, line)| {
            let lower = line.to_lowercase();
            let mut found: Vec<_> = banned
                .iter()
                .filter(|(word, _)| lower.contains(word))
                .map(|(word, instead)| format!(":{number}: \"{word}\": {instead}"))
                .collect();
            if line.contains(promise) && !line.contains(&format!("{promise}(#")) {
                found.push(format!(
                    ":{number}: {promise} without an issue: {promise}(#7)"
                ));
            }
            found
        })
        .collect()
}

#[test]
fn names_say_what_things_are() {
    demand(names);
}

fn names(path: &str, text: &str) -> Vec<String> {
    if !has_extension(path, "rs") {
        return Vec::new();
    }
    let hollow = [
        "Manager", "Handler", "Helper", "Util", "Utils", "Impl", "Data", "Info",
    ];
    numbered(text)
        .filter_map(|(number, line)| {
            let code = without_comment(line);
            let after = |keyword: &str| -> Option<String> {
                let (_, rest) = code.split_once(keyword)?;
                Some(rest.chars().take_while(|c| is_name(*c)).collect())
            };
            let kind = ["struct ", "enum ", "trait "].iter().find_map(|k| after(k));
            let is_hollow = kind.is_some_and(|name| {
                name != "ClusterInfo" && hollow.iter().any(|word| name.ends_with(word))
            });
            if is_hollow {
                return Some(format!(":{number}: a hollow name; say what it is"));
            }
            let function = after("fn ").is_some_and(|name| name.starts_with("get_"));
            function.then(|| format!(":{number}: no `get_`; name what is returned"))
        })
        .collect()
}

#[test]
fn words_are_noticed() {
    assert_eq!(words("a.md", concat!("the Mas", "ter node")).len(), 1);
    assert_eq!(words("a.md", concat!("TO", "DO later")).len(), 1);
    assert!(words("a.md", concat!("TO", "DO(#12) later")).is_empty());
    assert_eq!(
        names("src/a.rs", concat!("struct Link", "Manager {")).len(),
        1
    );
    assert_eq!(
        names("src/a.rs", concat!("    fn ge", "t_term(&self)")).len(),
        1
    );
    assert!(names("src/a.rs", "pub struct ClusterInfo {").is_empty());
}
