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
        "Shape" | "Size" | "ConstantOfShape" | "Range" | "NonZero" => {
            "fix the input sizes and fold constants before (onnxsim or onnxruntime's offline optimization)"
        }
        "Mean" => "write it as a chain of Add and a Mul by 1 / count",
        "Reciprocal" => "write it as Div of 1 by the operand",
        "Swish" => "write it as x * Sigmoid(x)",
        "HardSigmoid" => "write it as Clip(alpha * x + beta, 0, 1)",
        "HardSwish" => "write it as x * Clip(x / 6 + 0.5, 0, 1)",
        "LeakyRelu" | "PRelu" => "write it as Relu(x) - slope * Relu(-x)",
        "GlobalMaxPool" => "write it as MaxPool with the size of the map as its kernel",
        "DepthToSpace" | "SpaceToDepth" => "write it as Reshape, Transpose, Reshape",
        "Einsum" => "write it as Transpose and MatMul",
        "Upsample" => "it is deprecated: write it as Resize",
        _ => return None,
    })
}
