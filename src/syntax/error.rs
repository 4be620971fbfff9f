//! What can be wrong with a text.

use thiserror::Error;

use crate::diag::Report;

#[derive(Clone, Debug, PartialEq, Error)]
pub enum SyntaxError {
    #[error("`{text}` means nothing here")]
    Stray { text: String },
    #[error("found {found} where {expected} should be")]
    Unexpected { found: String, expected: String, hint: Option<String> },
    #[error("a quoted text is not closed on its line")]
    Unterminated,
    #[error("`{escape}` is no escape")]
    Escape { escape: String },
    #[error("nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("`{text}` is not {wanted}")]
    Literal { text: String, wanted: String },
    #[error("this is not text of version 1")]
    Version,
    #[error("{what} `{name}` is defined twice")]
    Redefined { what: &'static str, name: String },
    #[error("there is no value `{name}` before this")]
    UnknownValue { name: String, later: bool, similar: Option<String> },
    #[error("there is no type `{name}` before this")]
    UnknownAlias { name: String, similar: Option<String> },
    #[error("there is no data `{name}`")]
    UnknownData { name: String, similar: Option<String> },
    #[error("attribute `{attr}` is given twice")]
    DuplicateAttr { attr: String },
    #[error("{names} names for {types} types")]
    ResultTypes { names: usize, types: usize },
    #[error("`{name}` is no element type")]
    UnknownType { name: String },
    #[error("{fact}")]
    Grid { fact: String },
    #[error("{fact}")]
    Range { fact: String },
    #[error("`{name}` of {sizes} has {expected} elements, found {found}")]
    DataLength { name: String, sizes: String, expected: usize, found: usize },
    #[error("{fact}")]
    DataType { fact: String },
    #[error("the path \"{path}\" leads away from this file")]
    DataPath { path: String },
    #[error("can't read \"{path}\": {why}")]
    DataRead { path: String, why: String },
    #[error("tensor \"{tensor}\" of \"{path}\" {fact}")]
    DataTensor { path: String, tensor: String, fact: String },
    #[error("tensor \"{tensor}\" of \"{path}\" is not the one that was written: its hash differs")]
    DataHash { path: String, tensor: String, found: String },
    #[error("{fact}")]
    Return { fact: String },
    #[error("{fact}")]
    GraphCount { fact: &'static str },
}

impl Report for SyntaxError {
    fn code(&self) -> &'static str {
        match self {
            SyntaxError::Stray { .. } => "Q0101",
            SyntaxError::Unexpected { .. } => "Q0102",
            SyntaxError::Unterminated => "Q0103",
            SyntaxError::Escape { .. } => "Q0104",
            SyntaxError::TooDeep { .. } => "Q0105",
            SyntaxError::Literal { .. } => "Q0106",
            SyntaxError::Version => "Q0107",
            SyntaxError::Redefined { .. } => "Q0108",
            SyntaxError::UnknownValue { .. } => "Q0109",
            SyntaxError::UnknownAlias { .. } => "Q0110",
            SyntaxError::UnknownData { .. } => "Q0111",
            SyntaxError::DuplicateAttr { .. } => "Q0112",
            SyntaxError::ResultTypes { .. } => "Q0113",
            SyntaxError::UnknownType { .. } => "Q0114",
            SyntaxError::Grid { .. } => "Q0115",
            SyntaxError::Range { .. } => "Q0116",
            SyntaxError::DataLength { .. } => "Q0117",
            SyntaxError::DataType { .. } => "Q0118",
            SyntaxError::DataPath { .. } => "Q0119",
            SyntaxError::DataRead { .. } => "Q0120",
            SyntaxError::DataTensor { .. } => "Q0121",
            SyntaxError::DataHash { .. } => "Q0122",
            SyntaxError::Return { .. } => "Q0123",
            SyntaxError::GraphCount { .. } => "Q0124",
        }
    }

    fn hints(&self) -> Vec<String> {
        let similar = |similar: &Option<String>| {
            similar.iter().map(|name| format!("did you mean `{name}`?")).collect::<Vec<_>>()
        };
        match self {
            SyntaxError::Unexpected { hint, .. } => hint.iter().cloned().collect(),
            SyntaxError::Stray { text } if text == "#" => vec!["a comment begins with `//`".into()],
            SyntaxError::Stray { text } if text == ";" => {
                vec!["nothing stands between lines: leave it out".into()]
            }
            SyntaxError::Stray { text } if text == "⇒" || text == "→" => {
                vec!["an arrow is written `=>`".into()]
            }
            SyntaxError::Stray { text } if text == "'" => {
                vec!["texts are quoted as \"text\"".into()]
            }
            SyntaxError::Stray { text } if text == "." => {
                vec!["a number has digits on either side of its point: 0.5, 1.0".into()]
            }
            SyntaxError::Stray { text } if text.chars().any(|c| c.is_alphabetic()) => {
                vec!["names are made of the letters a to z and A to Z, digits and _".into()]
            }
            SyntaxError::TooDeep { .. } => vec!["give a part of it a name, and use that".into()],
            SyntaxError::Unterminated => vec!["a line break inside quotes is written \\n".into()],
            SyntaxError::Escape { .. } => {
                vec!["escapes are \\\" \\\\ \\n \\t \\r and \\u{…} with a code point in hex".into()]
            }
            SyntaxError::Version => vec!["a .qir file begins with `qir 1`".into()],
            SyntaxError::UnknownValue { later: true, .. } => {
                vec!["it is defined further down: a value is defined before it is used".into()]
            }
            SyntaxError::UnknownValue { similar: name, .. }
            | SyntaxError::UnknownAlias { similar: name, .. }
            | SyntaxError::UnknownData { similar: name, .. } => similar(name),
            SyntaxError::UnknownType { .. } => {
                let all: Vec<_> = crate::tensor::DType::ALL.iter().map(|dtype| dtype.name()).collect();
                vec![format!("element types are: {}, and grids q<…>", all.join(", "))]
            }
            SyntaxError::DataPath { .. } => {
                vec!["data files lie beside the .qir file or below its directory".into()]
            }
            SyntaxError::DataHash { found, .. } => vec![format!("the file has sha256 \"{found}\"")],
            _ => Vec::new(),
        }
    }
}
