//! Which files a template includes, found by its text: so all of them are read with the configuration.

/// A file that a template names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Included<'t> {
    /// Its path in the folder, as written
    pub path: &'t str,
    /// It may be missing (`ignore missing`, or one of several)
    pub is_optional: bool,
}

/// The words whose blocks name other files
const WORDS: [&str; 4] = ["include", "extends", "import", "from"];

/// The files that a text names. One whose name is worked out (`{% include kind ~ ".cfg" %}`) is not found: its text fails when it
/// is made.
pub fn included(text: &str) -> Vec<Included<'_>> {
    let mut found = Vec::new();
    for block in text.split("{%").skip(1).filter_map(|rest| Some(rest.split_once("%}")?.0)) {
        let block = block.trim_start_matches(['-', '+']).trim();
        let Some(rest) = WORDS.iter().find_map(|word| block.strip_prefix(word)) else { continue };
        if !rest.starts_with([' ', '\t', '\n', '"', '\'', '[']) {
            continue;
        }
        let is_optional = rest.contains("ignore missing") || rest.trim_start().starts_with('[');
        // Between quotes of either kind; what stands beside an operator is a part of a name.
        if rest.contains('~') {
            continue;
        }
        let mut rest = rest;
        while let Some(start) = rest.find(['"', '\'']) {
            let quote = &rest[start..=start];
            let Some((path, after)) = rest[start + 1..].split_once(quote) else { break };
            found.push(Included { path, is_optional });
            rest = after;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_the_blocks_that_name_them() {
        let paths = |text| included(text).iter().map(|one| (one.path, one.is_optional)).collect::<Vec<_>>();
        for (text, expected) in [
            ("{% include 'a/b.cfg' %}", vec![("a/b.cfg", false)]),
            ("x{%- extends \"base\" -%}y{% block a %}'q'{% endblock %}", vec![("base", false)]),
            ("{% from 'm' import f as g %}{%import\"n\"as n%}", vec![("m", false), ("n", false)]),
            (
                "{% include ['a', \"b\"] %}{% include 'c' ignore missing %}",
                vec![("a", true), ("b", true), ("c", true)],
            ),
            ("{% include kind ~ '.cfg' %}{% includes 'x' %}{% if a == 'b' %}{{ 'c' }}", vec![]),
            ("{% include 'open", vec![]),
            ("{% include 'open %}", vec![]),
        ] {
            assert_eq!(paths(text), expected, "{text}");
        }
    }
}
