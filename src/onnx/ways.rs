//! Operators that are not read, and what says the same.

/// How to express an ONNX operator with others; `None` where there is no exact way. Looked up only
/// for operators that the registry does not have.
pub fn way(domain: &str, op_type: &str) -> Option<&'static str> {
    if domain == "com.microsoft" {
        return Some("export the model without onnxruntime's own fusions");
    }
    if !domain.is_empty() && domain != "com.brainchip" {
        return Some("if it is a layer that a rule file declares, give that file: --rules FILE");
    }
    if !domain.is_empty() {
        return None;
    }
    Some(match op_type {
        "If" | "Loop" | "Scan" => "export the model with its control flow traced or unrolled",
        "NonZero" => {
            "fix the input sizes and fold constants before (onnxsim or onnxruntime's offline optimization)"
        }
        _ => return None,
    })
}
