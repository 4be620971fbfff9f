//! `docs/passes.md` lists every pass and every named pipeline.

#[test]
fn every_pass_and_pipeline_is_listed() {
    let text = include_str!("../docs/passes.md");
    for pass in qirc::pass::passes() {
        let options = pass.options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ");
        let row = format!("| `{}` | {options}", pass.name);
        assert!(text.contains(row.trim_end()), "no row starts with {row}");
    }
    for (name, _) in qirc::pass::PIPELINES {
        assert!(text.contains(&format!("| `{name}` | `passes/{name}.pipeline` |")), "{name} is missing");
    }
}
