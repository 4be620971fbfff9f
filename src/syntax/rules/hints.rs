//! What a user probably meant where the grammar expected something else.

use crate::diag::nearest;
use crate::syntax::recover::Found;

/// Words of other languages, and what is written here.
const ELSEWHERE: [(&str, &str); 9] = [
    ("and", "`&&`"),
    ("or", "`||`"),
    ("not", "`!`"),
    ("if", "`where`"),
    ("when", "`where`"),
    ("with", "`where`"),
    ("pattern", "`custom_pattern`"),
    ("import", "`use`"),
    ("include", "`use`"),
];

/// A hint for a syntax error of a rule file, where there is one.
pub fn hint(found: &Found) -> Option<String> {
    let expects = |terminal: &str| found.expected.iter().any(|name| name.trim_matches('"') == terminal);
    let behind = |what: &str| found.rest.starts_with(what);
    if behind("/*") {
        return Some("a comment begins with `//`".to_owned());
    }
    if expects("=>") && (behind("->") || behind("=") && !behind("==")) {
        return Some(match behind("->") {
            true => "an arrow is written `=>`".to_owned(),
            false => "`==` compares, `=>` stands before the right side, `where let` binds a name".to_owned(),
        });
    }
    if expects("==") && behind("=") {
        return Some("`==` compares; a name is bound with `where let`".to_owned());
    }
    if expects("=") && behind(":") {
        return Some("an attribute is written `name = value`".to_owned());
    }
    match found.word {
        "where" if expects("close rule") => {
            return Some("conditions stand before the `=>` of their right side".to_owned());
        }
        "use" if expects("member") || expects("close ruleset") => {
            return Some("`use` stands at the top of the file, outside of rulesets".to_owned());
        }
        "rule" | "custom_pattern" | "contract" | "driver" if expects("item") => {
            return Some(format!("`{}` stands in a ruleset: `ruleset NAME {{ … }}`", found.word));
        }
        "ruleset" if expects("member") => {
            return Some("the ruleset before is not closed: a `}` is missing".to_owned());
        }
        word => {
            if let Some((_, here)) = ELSEWHERE.iter().find(|(other, _)| *other == word) {
                return Some(format!("here that is written {here}"));
            }
        }
    }
    // Words alone: signs are too short to be misspelt.
    let words: Vec<&str> = found
        .expected
        .iter()
        .flat_map(|name| match name.trim_matches('"') {
            "item" => vec!["ruleset", "use"],
            "member" => vec!["rule", "custom_pattern", "contract", "driver"],
            "=>" => vec!["where"],
            name => vec![name],
        })
        .filter(|name| name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .filter(|name| !matches!(*name, "word" | "string" | "int" | "float" | "doc"))
        .collect();
    let lower = found.word.to_ascii_lowercase();
    let meant = nearest(&lower, words).filter(|_| found.word.len() > 2)?;
    (meant != found.word).then(|| format!("did you mean `{meant}`?"))
}
