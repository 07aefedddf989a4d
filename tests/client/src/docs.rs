//! What documents show in fenced blocks, so that tests can hold them to it.

use crate::root;

/// A fenced block.
pub struct Block {
    /// The heading that it stands under.
    pub heading: String,
    /// What stands after the fence, such as `sql`.
    pub language: String,
    /// Its lines.
    pub text: String,
}

/// The fenced blocks of a document, in order.
pub fn blocks(document: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join(document)).expect("the document is there");
    let mut blocks = Vec::new();
    let (mut heading, mut open) = (String::new(), None::<Block>);
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                let (heading, language) = (heading.clone(), language.to_owned());
                open = Some(Block { heading, language, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) if line.starts_with('#') => heading = line.trim_start_matches('#').trim().to_owned(),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{document}: a block is not closed");
    blocks
}

/// A document's scripts, each with the result that is shown right after it. Neither stands alone.
pub fn scripts(document: &str) -> Vec<(Block, Block)> {
    let mut blocks = blocks(document).into_iter().filter(|block| ["sql", "text"].contains(&&*block.language));
    let mut scripts = Vec::new();
    while let Some(script) = blocks.next() {
        assert_eq!(script.language, "sql", "{document}, {}: a result without a script", script.heading);
        let result =
            blocks.next().filter(|block| block.language == "text" && block.heading == script.heading);
        let result =
            result.unwrap_or_else(|| panic!("{document}, {}: a script without its result", script.heading));
        scripts.push((script, result));
    }
    scripts
}

/// The last table that psql printed.
pub fn last_table(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let is_rule = |line: &&str| line.starts_with('-') && line.chars().all(|c| c == '-' || c == '+');
    let rule = lines.iter().rposition(is_rule).filter(|at| *at > 0);
    lines[rule.unwrap_or_else(|| panic!("no table in {output}")) - 1..].join("\n")
}

/// A table as psql prints it, without its padding.
pub fn cells(output: &str) -> Vec<Vec<String>> {
    output
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('-'))
        .map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}
